#include "engine/backend/cpu/kernels/attention_kernels.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/attention_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/register_tile-inl.h"

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

// Queries that share each load of keys or values: eight of AVX-512, where widening takes half as long as
// two queries' products.
constexpr int kQueryTile = kHasAvx512 ? 8 : 3;

// Vectors of keys or values that are multiplied side by side: 3 queries by 4 vectors are 12 sums, which with
// the factors of the queries and one vector are the 16 registers of AVX2; 8 by 2 take 25 of 32.
constexpr int SideBySide(int queries) {
    return queries > 4 ? 2 : 4;
}
constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(BlockTag()));
static_assert(kKeyChunk % (SideBySide(1) * kLanes) == 0);
constexpr float kMinusInfinity = -HUGE_VALF;

HWY_INLINE BlockVector LoadBlock(BlockTag d, const float* source) {
    return hn::LoadU(d, source);
}

HWY_INLINE BlockVector LoadBlock(BlockTag d, const hwy::float16_t* source) {
    const hn::Rebind<hwy::float16_t, BlockTag> narrow;
    return hn::PromoteTo(d, hn::LoadU(narrow, source));
}

// What memory is to bring while something else is computed, a little in each step.
class Ahead {
public:
    Ahead(const void* begin, std::int64_t bytes, std::int64_t steps)
        : m_next(static_cast<const char*>(begin)), m_stride(bytes / steps) {}
    HWY_INLINE void step() {
        hwy::Prefetch(m_next);
        m_next += m_stride;
    }

private:
    const char* m_next;
    std::int64_t m_stride;
};

// Weights of one chunk, [kQueryTile][kKeyChunk]: first the scores, then what softmax makes of them.
struct ChunkWeights {
    HWY_ALIGN float values[kQueryTile][kKeyChunk];
    std::int64_t counts[kQueryTile];  // keys of this chunk that the query sees
    std::int64_t widest;              // the largest of counts
};

// The scores of the chunk's first `widest` keys; of some more, which are without meaning.
template <int kQueries, typename T>
HWY_INLINE void ScoreKeys(const T* keys, const AttentionQuery* queries, std::int64_t headDim,
                          float scale, Ahead& ahead, ChunkWeights& weights) {
    const BlockTag d;
    constexpr int kSideBySide = SideBySide(kQueries);
    const float* factors[kQueries];
    for (int q = 0; q < kQueries; ++q)
        factors[q] = queries[q].values;
    for (std::int64_t first = 0; first < weights.widest; first += kSideBySide * kLanes) {
        const T* sources[kSideBySide];
        for (int v = 0; v < kSideBySide; ++v) {
            const std::int64_t key = first + v * kLanes;
            sources[v] = keys + key / kKeyBlock * kKeyBlock * headDim + key % kKeyBlock;
        }
        RegisterTile<BlockTag, kQueries, kSideBySide> sums;
        sums.clear();
        for (std::int64_t dim = 0; dim < headDim; ++dim) {
            ahead.step();
            sums.add([&](int q) HWY_ATTR { return hn::Set(d, factors[q][dim]); },
                     [&](int v) HWY_ATTR { return LoadBlock(d, sources[v] + dim * kKeyBlock); });
        }
        sums.forEach([&](int q, int v, BlockVector sum) HWY_ATTR {
            hn::Store(hn::Mul(sum, hn::Set(d, scale)), d, &weights.values[q][first + v * kLanes]);
        });
    }
}

// 2^x for x <= 0, within 2^-23 of it; 0 below 2^-125.
HWY_INLINE BlockVector Exp2(BlockVector x) {
    const BlockTag d;
    const hn::RebindToSigned<BlockTag> bits;
    const BlockVector least = hn::Set(d, -125.0F);
    const BlockVector bounded = hn::Max(least, x);  // in this order, NaN remains NaN
    const auto whole = hn::NearestInt(bounded);
    const BlockVector rest = hn::Sub(bounded, hn::ConvertTo(d, whole));
    // The polynomial of degree 6 nearest to 2^rest in [-0.5, 0.5], by its relative error.
    BlockVector power = hn::Set(d, 1.5353362E-4F);
    for (const float coefficient :
         {1.33988739E-3F, 9.61843692E-3F, 5.55033237E-2F, 2.40226477E-1F, 6.93147182E-1F, 1.0F})
        power = hn::MulAdd(power, rest, hn::Set(d, coefficient));
    const auto scaled = hn::Add(hn::BitCast(bits, power), hn::ShiftLeft<23>(whole));
    return hn::IfThenZeroElse(hn::Lt(x, least), hn::BitCast(d, scaled));
}

// Turns the scores of a query into weights, and what it has summed so far into the same measure.
HWY_INLINE void SoftmaxChunk(int query, std::int64_t width, ChunkWeights& weights,
                             AttentionPartial& partial) {
    const BlockTag d;
    float* row = weights.values[query];
    for (std::int64_t j = weights.counts[query]; j < kKeyChunk; ++j)
        row[j] = kMinusInfinity;
    BlockVector maxima = hn::Set(d, partial.maximum);
    for (std::int64_t j = 0; j < kKeyChunk; j += kLanes)
        maxima = hn::Max(maxima, hn::Load(d, row + j));
    const float maximum = hn::GetLane(hn::MaxOfLanes(d, maxima));
    BlockVector sums = hn::Zero(d);
    for (std::int64_t j = 0; j < kKeyChunk; j += kLanes) {
        const BlockVector weight = Exp2(hn::Sub(hn::Load(d, row + j), hn::Set(d, maximum)));
        hn::Store(weight, d, row + j);
        sums = hn::Add(sums, weight);
    }
    if (maximum != partial.maximum) {
        const float keep = std::exp2(partial.maximum - maximum);
        partial.maximum = maximum;
        partial.sum *= keep;
        for (std::int64_t dim = 0; dim < width; dim += kLanes)
            hn::StoreU(hn::Mul(hn::LoadU(d, partial.output + dim), hn::Set(d, keep)), d,
                       partial.output + dim);
    }
    partial.sum += hn::GetLane(hn::SumOfLanes(d, sums));
}

// Columns `dim` on, kVectors vectors of them: outputs += the sum over the chunk's keys of weight * value.
template <int kQueries, int kVectors, typename T>
HWY_INLINE void WeightColumns(const T* values, std::int64_t width, std::int64_t dim,
                              const ChunkWeights& weights, Ahead& ahead,
                              AttentionPartial* partials) {
    const BlockTag d;
    RegisterTile<BlockTag, kQueries, kVectors> sums;
    sums.clear();
    for (std::int64_t j = 0; j < weights.widest; ++j) {
        ahead.step();
        const T* row = values + j * width + dim;
        sums.add([&](int q) HWY_ATTR { return hn::Set(d, weights.values[q][j]); },
                 [&](int v) HWY_ATTR { return LoadBlock(d, row + v * kLanes); });
    }
    sums.forEach([&](int q, int v, BlockVector sum) HWY_ATTR {
        float* out = partials[q].output + dim + v * kLanes;
        hn::StoreU(hn::Add(hn::LoadU(d, out), sum), d, out);
    });
}

template <int kQueries, typename T>
HWY_INLINE void WeightValues(const T* values, std::int64_t width, const ChunkWeights& weights,
                             Ahead& ahead, AttentionPartial* partials) {
    constexpr int kSideBySide = SideBySide(kQueries);
    std::int64_t dim = 0;
    for (; dim + kSideBySide * kLanes <= width; dim += kSideBySide * kLanes)
        WeightColumns<kQueries, kSideBySide>(values, width, dim, weights, ahead, partials);
    for (; dim < width; dim += kLanes)
        WeightColumns<kQueries, 1>(values, width, dim, weights, ahead, partials);
}

// Positions [begin, end) of a head, a chunk at most.
template <typename T>
struct Chunk {
    const T* keys;
    const T* values;
    std::int64_t headDim, width;
    std::int64_t begin, end;
};

// One chunk for a tile of queries.
template <int kQueries, typename T>
HWY_INLINE void AttendChunk(const Chunk<T>& chunk, const AttentionQuery* queries, float scale,
                            Ahead& keys, Ahead& values, AttentionPartial* partials) {
    ChunkWeights weights;
    weights.widest = 0;
    for (int q = 0; q < kQueries; ++q) {
        weights.counts[q] = std::clamp<std::int64_t>(
            std::min(chunk.end, queries[q].keyCount) - chunk.begin, 0, kKeyChunk);
        weights.widest = std::max(weights.widest, weights.counts[q]);
    }
    if (weights.widest == 0) return;
    ScoreKeys<kQueries>(chunk.keys, queries, chunk.headDim, scale, keys, weights);
    for (int q = 0; q < kQueries; ++q)
        if (weights.counts[q] != 0)
            SoftmaxChunk(q, chunk.width, weights, partials[q]);
        else
            std::fill_n(weights.values[q], weights.widest, 0.0F);
    WeightValues<kQueries>(chunk.values, chunk.width, weights, values, partials);
}

// use(tile, q) for queries [q, q + tile), together `count` of them; the tile's size is known when compiled.
template <typename Use>
HWY_INLINE void ForEachTile(std::size_t count, const Use& use) {
    std::size_t q = 0;
    for (; q + kQueryTile <= count; q += kQueryTile)
        use(std::integral_constant<int, kQueryTile>(), q);
    if (kQueryTile > 4 && q + 4 <= count) {
        use(std::integral_constant<int, 4>(), q);
        q += 4;
    }
    if (q + 2 <= count) {
        use(std::integral_constant<int, 2>(), q);
        q += 2;
    }
    if (q < count) use(std::integral_constant<int, 1>(), q);
}

template <typename T>
void AttendSpanTyped(const KvHead& kv, std::span<const AttentionQuery> queries, float scale,
                     std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials) {
    const std::int64_t width = cpu::paddedHeadDim(kv.headDim);
    for (AttentionPartial& partial : partials) {
        partial.maximum = kMinusInfinity;
        partial.sum = 0;
        std::fill_n(partial.output, width, 0.0F);
    }
    std::int64_t steps = 0;  // of all tiles in a chunk
    ForEachTile(queries.size(), [&](auto tile, std::size_t) {
        steps += kKeyChunk * kv.headDim / (SideBySide(tile) * kLanes);
    });
    const std::int64_t bytes = kKeyChunk * width * std::int64_t{sizeof(T)};
    for (; begin < end; begin += kKeyChunk) {
        const std::int64_t index = begin / kKeyChunk;
        const Chunk<T> chunk{reinterpret_cast<const T*>(kv.keys(index)),
                             reinterpret_cast<const T*>(kv.values(index)),
                             kv.headDim,
                             width,
                             begin,
                             std::min(end, begin + kKeyChunk)};
        // While this chunk is computed, the next one is on its way. Behind the last one there may be no
        // memory yet, which to look for takes long.
        const bool isLast = chunk.end == end;
        Ahead keys(kv.keys(isLast ? index : index + 1), isLast ? 0 : bytes, steps);
        Ahead values(kv.values(isLast ? index : index + 1), isLast ? 0 : bytes, steps);
        ForEachTile(queries.size(), [&](auto tile, std::size_t q) HWY_ATTR {
            AttendChunk<decltype(tile)::value>(chunk, &queries[q], scale, keys, values,
                                               &partials[q]);
        });
    }
}

void AttendSpan(const KvHead& kv, std::span<const AttentionQuery> queries, float scale,
                std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials) {
    scale *= 1.44269504F;  // the logarithm of e: from here on all powers are of 2
    if (kv.precision == KvPrecision::F16)
        AttendSpanTyped<hwy::float16_t>(kv, queries, scale, begin, end, partials);
    else
        AttendSpanTyped<float>(kv, queries, scale, begin, end, partials);
}

void MergePartial(AttentionPartial& into, const AttentionPartial& from, std::int64_t headDim) {
    if (from.sum == 0) return;
    const BlockTag d;
    const float maximum = std::max(into.maximum, from.maximum);
    const float keep = std::exp2(into.maximum - maximum);
    const float take = std::exp2(from.maximum - maximum);
    into.maximum = maximum;
    into.sum = into.sum * keep + from.sum * take;
    for (std::int64_t dim = 0; dim < cpu::paddedHeadDim(headDim); dim += kLanes) {
        const BlockVector old = hn::Mul(hn::LoadU(d, into.output + dim), hn::Set(d, keep));
        hn::StoreU(hn::MulAdd(hn::LoadU(d, from.output + dim), hn::Set(d, take), old), d,
                   into.output + dim);
    }
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
