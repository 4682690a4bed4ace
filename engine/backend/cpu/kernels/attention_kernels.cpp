#include "engine/backend/cpu/kernels/attention_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/attention_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/load-inl.h"

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

using cpu::AttentionPartial;
using cpu::AttentionQuery;
using cpu::kKeyBlock;
using cpu::kKeyChunk;
using cpu::KvHead;

// At most 16 lanes, so that a block of 16 keys is a whole number of vectors on every target.
using BlockTag = hn::CappedTag<float, kKeyBlock>;
using BlockVector = hn::Vec<BlockTag>;

// Queries that share each load of keys or values, and vectors of these that are summed side by side.
// A multiply-add ends 4 cycles after it began, and two begin in each: 8 sums keep them busy. The 4 of
// a query alone keep up with memory.
constexpr int kQueryTile = 4;
template <int kQueries>
constexpr int kSideBySide = kQueries == 1 ? 4 : 2;
constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(BlockTag()));
constexpr float kMinusInfinity = -HUGE_VALF;

HWY_INLINE BlockVector LoadBlock(BlockTag d, const float* source) {
    return hn::LoadU(d, source);
}

HWY_INLINE BlockVector LoadBlock(BlockTag d, const hwy::float16_t* source) {
    const hn::Rebind<hwy::float16_t, BlockTag> narrow;
    return hn::PromoteTo(d, hn::LoadU(narrow, source));
}

// The scores of one chunk, [kQueryTile][kKeyChunk], and what softmax makes of them.
struct ChunkScores {
    HWY_ALIGN float values[kQueryTile][kKeyChunk];
    float maximum[kQueryTile];
    float sum[kQueryTile];
    std::int64_t counts[kQueryTile];  // keys of this chunk that the query sees
    std::int64_t widest;              // the largest of counts
};

// The scores of the chunk's first `widest` keys; of some more, which are without meaning.
template <int kQueries, typename T>
HWY_INLINE void ScoreKeys(const T* keys, const AttentionQuery* queries, std::int64_t headDim,
                          float scale, ChunkScores& scores) {
    constexpr int kVectors = kSideBySide<kQueries>;
    static_assert(kKeyChunk % (kVectors * kLanes) == 0);
    const BlockTag d;
    for (std::int64_t first = 0; first < scores.widest; first += kVectors * kLanes) {
        const T* sources[kVectors];
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t key = first + v * kLanes;
            sources[v] = keys + key / kKeyBlock * kKeyBlock * headDim + key % kKeyBlock;
        }
        BlockVector sums[kQueries][kVectors];
        for (int q = 0; q < kQueries; ++q)
            for (int v = 0; v < kVectors; ++v)
                sums[q][v] = hn::Zero(d);
        for (std::int64_t dim = 0; dim < headDim; ++dim) {
            BlockVector key[kVectors];
            for (int v = 0; v < kVectors; ++v)
                key[v] = LoadBlock(d, sources[v] + dim * kKeyBlock);
            for (int q = 0; q < kQueries; ++q)
                for (int v = 0; v < kVectors; ++v)
                    sums[q][v] = hn::MulAdd(hn::Set(d, queries[q].values[dim]), key[v], sums[q][v]);
        }
        for (int q = 0; q < kQueries; ++q)
            for (int v = 0; v < kVectors; ++v)
                hn::StoreU(hn::Mul(sums[q][v], hn::Set(d, scale)), d,
                           &scores.values[q][first + v * kLanes]);
    }
}

HWY_INLINE void SoftmaxChunk(int query, ChunkScores& scores) {
    const BlockTag d;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    float* row = scores.values[query];
    for (std::int64_t j = scores.counts[query]; j < kKeyChunk; ++j)
        row[j] = kMinusInfinity;
    BlockVector maxima = hn::Set(d, kMinusInfinity);
    for (std::int64_t j = 0; j < kKeyChunk; j += lanes)
        maxima = hn::Max(maxima, hn::LoadU(d, row + j));
    const float maximum = hn::GetLane(hn::MaxOfLanes(d, maxima));
    BlockVector sums = hn::Zero(d);
    for (std::int64_t j = 0; j < kKeyChunk; j += lanes) {
        const BlockVector weight = hn::Exp(d, hn::Sub(hn::LoadU(d, row + j), hn::Set(d, maximum)));
        hn::StoreU(weight, d, row + j);
        sums = hn::Add(sums, weight);
    }
    scores.maximum[query] = maximum;
    scores.sum[query] = hn::GetLane(hn::SumOfLanes(d, sums));
}

// kVectors vectors from `dim` on of buffer[q, :] [kQueries, width] = sum over the chunk's keys of
// weight * value.
template <int kQueries, int kVectors, typename T>
HWY_INLINE void WeightColumns(const T* values, std::int64_t width, std::int64_t dim,
                              const ChunkScores& scores, float* buffer) {
    const BlockTag d;
    BlockVector sums[kQueries][kVectors];
    for (int q = 0; q < kQueries; ++q)
        for (int v = 0; v < kVectors; ++v)
            sums[q][v] = hn::Zero(d);
    for (std::int64_t j = 0; j < scores.widest; ++j) {
        BlockVector value[kVectors];
        for (int v = 0; v < kVectors; ++v)
            value[v] = LoadBlock(d, values + j * width + dim + v * kLanes);
        for (int q = 0; q < kQueries; ++q)
            for (int v = 0; v < kVectors; ++v)
                sums[q][v] = hn::MulAdd(hn::Set(d, scores.values[q][j]), value[v], sums[q][v]);
    }
    for (int q = 0; q < kQueries; ++q)
        for (int v = 0; v < kVectors; ++v)
            hn::StoreU(sums[q][v], d, buffer + q * width + dim + v * kLanes);
}

template <int kQueries, typename T>
HWY_INLINE void WeightValues(const T* values, std::int64_t width, const ChunkScores& scores,
                             float* buffer) {
    constexpr int kVectors = kSideBySide<kQueries>;
    std::int64_t dim = 0;
    for (; dim + kVectors * kLanes <= width; dim += kVectors * kLanes)
        WeightColumns<kQueries, kVectors>(values, width, dim, scores, buffer);
    for (; dim < width; dim += kLanes)
        WeightColumns<kQueries, 1>(values, width, dim, scores, buffer);
}

void Merge(AttentionPartial& into, float maximum, float sum, const float* output,
           std::int64_t width) {
    const BlockTag d;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    if (into.sum == 0) {
        into.maximum = maximum;
        into.sum = sum;
        std::copy(output, output + width, into.output);
        return;
    }
    const float joint = std::max(into.maximum, maximum);
    const float keep = std::exp(into.maximum - joint);
    const float take = std::exp(maximum - joint);
    into.maximum = joint;
    into.sum = into.sum * keep + sum * take;
    for (std::int64_t dim = 0; dim < width; dim += lanes) {
        const BlockVector old = hn::Mul(hn::LoadU(d, into.output + dim), hn::Set(d, keep));
        hn::StoreU(hn::MulAdd(hn::LoadU(d, output + dim), hn::Set(d, take), old), d,
                   into.output + dim);
    }
}

// One chunk for up to kQueryTile queries, merged into their partials.
template <int kQueries, typename T>
HWY_INLINE void AttendChunk(const KvHead& kv, const AttentionQuery* queries, float scale,
                            std::int64_t begin, std::int64_t end, AttentionPartial* partials,
                            float* buffer) {
    ChunkScores scores;
    scores.widest = 0;
    for (int q = 0; q < kQueries; ++q) {
        scores.counts[q] =
            std::clamp<std::int64_t>(std::min(end, queries[q].keyCount) - begin, 0, kKeyChunk);
        scores.widest = std::max(scores.widest, scores.counts[q]);
    }
    if (scores.widest == 0) return;
    const std::int64_t width = cpu::paddedHeadDim(kv.headDim);
    const T* keys = static_cast<const T*>(kv.keys) + begin * kv.headDim;
    ScoreKeys<kQueries>(keys, queries, kv.headDim, scale, scores);
    for (int q = 0; q < kQueries; ++q)
        SoftmaxChunk(q, scores);
    WeightValues<kQueries>(static_cast<const T*>(kv.values) + begin * width, width, scores, buffer);
    for (int q = 0; q < kQueries; ++q)
        if (scores.counts[q] != 0)
            Merge(partials[q], scores.maximum[q], scores.sum[q], buffer + q * width, width);
}

template <typename T>
void AttendSpanTyped(const KvHead& kv, std::span<const AttentionQuery> queries, float scale,
                     std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials) {
    // One tile's chunk output; head dimensions beyond 1024 are refused when the model is loaded.
    HWY_ALIGN float buffer[kQueryTile * 1024];
    for (AttentionPartial& partial : partials)
        partial.sum = 0;
    for (std::int64_t chunk = begin; chunk < end; chunk += kKeyChunk) {
        const std::int64_t chunkEnd = std::min(end, chunk + kKeyChunk);
        std::size_t q = 0;
        for (; q + kQueryTile <= queries.size(); q += kQueryTile)
            AttendChunk<kQueryTile, T>(kv, &queries[q], scale, chunk, chunkEnd, &partials[q],
                                       buffer);
        for (; q < queries.size(); ++q)
            AttendChunk<1, T>(kv, &queries[q], scale, chunk, chunkEnd, &partials[q], buffer);
    }
}

void AttendSpan(const KvHead& kv, std::span<const AttentionQuery> queries, float scale,
                std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials) {
    if (kv.precision == KvPrecision::F16)
        AttendSpanTyped<hwy::float16_t>(kv, queries, scale, begin, end, partials);
    else
        AttendSpanTyped<float>(kv, queries, scale, begin, end, partials);
}

void MergePartial(AttentionPartial& into, const AttentionPartial& from, std::int64_t headDim) {
    if (from.sum != 0)
        Merge(into, from.maximum, from.sum, from.output, cpu::paddedHeadDim(headDim));
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(AttendSpan);
HWY_EXPORT(MergePartial);

namespace cpu {

void attendSpan(const KvHead& kv, std::span<const AttentionQuery> queries, float scale,
                std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials) {
    HWY_DYNAMIC_DISPATCH(AttendSpan)(kv, queries, scale, begin, end, partials);
}

void mergePartial(AttentionPartial& into, const AttentionPartial& from, std::int64_t headDim) {
    HWY_DYNAMIC_DISPATCH(MergePartial)(into, from, headDim);
}

}  // namespace cpu
}  // namespace qllama
#endif
