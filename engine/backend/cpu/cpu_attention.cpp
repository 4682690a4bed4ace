#include "engine/backend/cpu/cpu_attention.h"

#include <atomic>
#include <cmath>
#include <cstddef>

namespace qllama::cpu {
namespace {

// Rows of prefill that one portion of work covers at least: with the heads of a group they share the keys
// while those are in cache. More where groups are small, so that these queries repay widening the keys.
constexpr std::int64_t kRowTile = 16;
constexpr std::int64_t kTileQueries = 64;

// Portions a thread at least, where there are as many, so that all end together.
constexpr std::int64_t kPortions = 4;

// No more rows than this are few: they take their keys apart.
constexpr std::int64_t kFewRows = 16;

// A portion is one kv head, a tile of rows with all query heads of the group, and a range of spans.
// Few rows (decode): each span is a portion of its own, merged afterwards. Many rows: one portion
// goes through all its spans, keeping the merged result.
struct Plan {
    std::int64_t group = 0;  // query heads a kv head
    std::int64_t rowTiles = 0;
    std::int64_t tileRows = 0;
    std::int64_t spans = 0;
    bool splitSpans = false;
    std::int64_t width = 0;  // paddedHeadDim
    std::int64_t tileQueries() const { return tileRows * group; }
};

std::int64_t tileRowsOf(const AttentionWork& work, std::int64_t group, std::int64_t threads) {
    const std::int64_t spread = work.rows * work.shape.kvHeadCount / (kPortions * threads);
    return std::min(std::max(kRowTile, std::min(kTileQueries / group, spread)), work.rows);
}

Plan planOf(const AttentionWork& work, std::int64_t threads) {
    Plan plan;
    plan.group = work.shape.headCount / work.shape.kvHeadCount;
    plan.spans = (work.first + work.rows + kKeySpan - 1) / kKeySpan;
    plan.splitSpans = work.rows <= kFewRows && plan.spans > 1;
    plan.tileRows = tileRowsOf(work, plan.group, threads);
    plan.rowTiles = (work.rows + plan.tileRows - 1) / plan.tileRows;
    plan.width = paddedHeadDim(work.shape.headDim);
    return plan;
}

// A portion's slice of the scratch: queries, partials of one span, merged partials.
struct Slice {
    std::span<AttentionQuery> queries;
    std::span<AttentionPartial> partials;
};

Slice sliceOf(AttentionScratch& scratch, const Plan& plan, std::int64_t index) {
    const auto count = static_cast<std::size_t>(plan.tileQueries());
    const std::size_t start = static_cast<std::size_t>(index) * count;
    Slice slice{std::span(scratch.queries).subspan(start, count),
                std::span(scratch.partials).subspan(start, count)};
    for (std::size_t q = 0; q < count; ++q)
        slice.partials[q].output =
            scratch.outputs.get() + static_cast<std::int64_t>(start + q) * plan.width;
    return slice;
}

std::size_t fillQueries(const AttentionWork& work, const Plan& plan, std::int64_t kvHead,
                        std::int64_t tile, std::span<AttentionQuery> queries) {
    const AttentionShape& shape = work.shape;
    std::size_t count = 0;
    const std::int64_t end = std::min(work.rows, (tile + 1) * plan.tileRows);
    for (std::int64_t row = tile * plan.tileRows; row < end; ++row)
        for (std::int64_t member = 0; member < plan.group; ++member)
            queries[count++] = {
                work.queries +
                    (row * shape.headCount + kvHead * plan.group + member) * shape.headDim,
                work.first + row + 1};
    return count;
}

void writeOutputs(const AttentionWork& work, const Plan& plan, std::int64_t kvHead,
                  std::int64_t tile, std::span<const AttentionPartial> partials) {
    const AttentionShape& shape = work.shape;
    std::size_t index = 0;
    const std::int64_t end = std::min(work.rows, (tile + 1) * plan.tileRows);
    for (std::int64_t row = tile * plan.tileRows; row < end; ++row) {
        for (std::int64_t member = 0; member < plan.group; ++member, ++index) {
            const float scale = 1.0F / partials[index].sum;
            float* out =
                work.out + (row * shape.headCount + kvHead * plan.group + member) * shape.headDim;
            for (std::int64_t dim = 0; dim < shape.headDim; ++dim)
                out[dim] = partials[index].output[dim] * scale;
        }
    }
}

template <typename Portion>
void forEachPortion(ThreadPool& pool, std::int64_t count, const Portion& portion) {
    std::atomic<std::int64_t> next{0};
    pool.run([&](int worker) {
        for (std::int64_t taken; (taken = next.fetch_add(1, std::memory_order_relaxed)) < count;)
            portion(taken, worker);
    });
}

void attendSplitSpans(const AttentionWork& work, const Plan& plan, ThreadPool& pool,
                      AttentionScratch& scratch, std::span<const AlignedFloats> rooms) {
    const std::int64_t kvHeads = work.shape.kvHeadCount;
    const float scale = 1.0F / std::sqrt(static_cast<float>(work.shape.headDim));
    const std::int64_t keyCount = work.first + work.rows;
    forEachPortion(pool, kvHeads * plan.spans, [&](std::int64_t index, int worker) {
        const std::int64_t kvHead = index / plan.spans;
        const std::int64_t begin = index % plan.spans * kKeySpan;
        const Slice slice = sliceOf(scratch, plan, index);
        const std::size_t count = fillQueries(work, plan, kvHead, 0, slice.queries);
        attendSpan(work.cache->head(work.layer, kvHead), slice.queries.first(count), scale, begin,
                   std::min(keyCount, begin + kKeySpan), slice.partials.first(count),
                   rooms[static_cast<std::size_t>(worker)].get());
    });
    for (std::int64_t kvHead = 0; kvHead < kvHeads; ++kvHead) {
        const Slice merged = sliceOf(scratch, plan, kvHead * plan.spans);
        for (std::int64_t span = 1; span < plan.spans; ++span) {
            const Slice later = sliceOf(scratch, plan, kvHead * plan.spans + span);
            for (std::size_t q = 0; q < merged.partials.size(); ++q)
                mergePartial(merged.partials[q], later.partials[q], work.shape.headDim);
        }
        writeOutputs(work, plan, kvHead, 0, merged.partials);
    }
}

void attendWholeTiles(const AttentionWork& work, const Plan& plan, ThreadPool& pool,
                      AttentionScratch& scratch, std::span<const AlignedFloats> rooms) {
    const float scale = 1.0F / std::sqrt(static_cast<float>(work.shape.headDim));
    const std::int64_t portions = work.shape.kvHeadCount * plan.rowTiles;
    forEachPortion(pool, portions, [&](std::int64_t index, int worker) {
        // Late tiles see the most keys: they go first, so that the threads end together.
        const std::int64_t tile = plan.rowTiles - 1 - index / work.shape.kvHeadCount;
        const std::int64_t kvHead = index % work.shape.kvHeadCount;
        const Slice merged = sliceOf(scratch, plan, std::int64_t{worker} * 2);
        const Slice span = sliceOf(scratch, plan, std::int64_t{worker} * 2 + 1);
        const std::size_t count = fillQueries(work, plan, kvHead, tile, merged.queries);
        const auto queries = merged.queries.first(count);
        const std::int64_t keyCount = queries.back().keyCount;
        const KvHead head = work.cache->head(work.layer, kvHead);
        float* room = rooms[static_cast<std::size_t>(worker)].get();
        attendSpan(head, queries, scale, 0, std::min(keyCount, kKeySpan),
                   merged.partials.first(count), room);
        for (std::int64_t begin = kKeySpan; begin < keyCount; begin += kKeySpan) {
            attendSpan(head, queries, scale, begin, std::min(keyCount, begin + kKeySpan),
                       span.partials.first(count), room);
            for (std::size_t q = 0; q < count; ++q)
                mergePartial(merged.partials[q], span.partials[q], work.shape.headDim);
        }
        writeOutputs(work, plan, kvHead, tile, merged.partials);
    });
}

}  // namespace

void attend(const AttentionWork& work, ThreadPool& pool, AttentionScratch& scratch,
            std::span<AlignedFloats> rooms) {
    const Plan plan = planOf(work, pool.threadCount());
    const std::int64_t slices = plan.splitSpans ? work.shape.kvHeadCount * plan.spans
                                                : std::int64_t{pool.threadCount()} * 2;
    const auto queries = static_cast<std::size_t>(slices * plan.tileQueries());
    scratch.queries.resize(queries);
    scratch.partials.resize(queries);
    scratch.outputs.resize(static_cast<std::int64_t>(queries) * plan.width);
    for (AlignedFloats& room : rooms)
        room.resize(attentionRoomFloats(work.shape.headDim, plan.tileQueries()));
    if (plan.splitSpans)
        attendSplitSpans(work, plan, pool, scratch, rooms);
    else
        attendWholeTiles(work, plan, pool, scratch, rooms);
}

}  // namespace qllama::cpu
