#include "engine/backend/cpu/kernels/attention_kernels.h"

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
using cpu::kQueryPiece;
using cpu::KvHead;

// At most 16 lanes, so that a block of 16 keys is a whole number of vectors on every target.
using BlockTag = hn::CappedTag<float, kKeyBlock>;
using BlockVector = hn::Vec<BlockTag>;

// Queries that share each load of keys or values: eight of AVX-512, where widening takes half as long as
// two queries' products.
constexpr int kQueryTile = kHasAvx512 ? 8 : 3;

// From so many queries on keys and values are widened once for all of them.
constexpr std::size_t kLeastWidened = 4 * kQueryTile;

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

// What memory is to bring while something else is computed, a little in each step: the next chunk. Where few
// queries leave little time for it, also the chunk behind that one, into the second cache, which has room
// for more lines on their way.
template <bool kFewQueries>
class Ahead {
public:
    Ahead(const void* next, const void* far, std::int64_t bytes, std::int64_t steps)
        : m_next(static_cast<const char*>(next)),
          m_far(static_cast<const char*>(far)),
          m_stride(bytes / steps) {}
    HWY_INLINE void step() {
        if constexpr (kFewQueries) {
            for (std::int64_t line = 0; line < m_stride; line += kLineBytes) {
                FetchLines<1>(m_next + line);
                FetchLinesToL2<1>(m_far + line);
            }
            m_far += m_stride;
        } else {
            FetchLines<1>(m_next);
        }
        m_next += m_stride;
    }

private:
    const char* m_next;
    const char* m_far;
    std::int64_t m_stride;
};

constexpr std::int64_t kTileVectors = (kQueryTile + kLanes - 1) / kLanes;  // for a float a query

// Weights of one chunk, [kQueryTile][kKeyChunk]: first the scores, then what softmax makes of them.
struct ChunkWeights {
    HWY_ALIGN float values[kQueryTile][kKeyChunk];
    HWY_ALIGN float keep[kTileVectors * kLanes] = {};  // by what the queries' outputs so far shrink
    std::int64_t counts[kQueryTile];                   // keys of this chunk that the query sees
    std::int64_t widest;                               // the largest of counts
};

// A tile of queries in pieces of kQueryPiece dimensions, [piece][kQueries][kQueryPiece], so that one address
// and constants behind it reach all of them.
template <int kQueries>
HWY_INLINE void PackQueries(const AttentionQuery* queries, std::int64_t headDim, float* packed) {
    for (std::int64_t first = 0; first < headDim; first += kQueryPiece)
        for (int q = 0; q < kQueries; ++q, packed += kQueryPiece)
            std::copy_n(queries[q].values + first, std::min(kQueryPiece, headDim - first), packed);
}

// The scores of the chunk's first `widest` keys; of some more, which are without meaning.
template <int kQueries, typename T, typename Fetching>
HWY_INLINE void ScoreKeys(const T* keys, const float* packed, std::int64_t headDim, float scale,
                          Fetching& ahead, ChunkWeights& weights) {
    const BlockTag d;
    constexpr int kSideBySide = SideBySide(kQueries);
    Fetching fetching = ahead;
    for (std::int64_t first = 0; first < weights.widest; first += kSideBySide * kLanes) {
        const T* sources[kSideBySide];
        for (int v = 0; v < kSideBySide; ++v) {
            const std::int64_t key = first + v * kLanes;
            sources[v] = keys + key / kKeyBlock * kKeyBlock * headDim + key % kKeyBlock;
        }
        RegisterTile<BlockTag, kQueries, kSideBySide> sums;
        sums.clear();
        const float* piece = packed;
        for (std::int64_t dim = 0; dim < headDim; piece += (kQueries - 1) * kQueryPiece)
            for (const std::int64_t end = std::min(dim + kQueryPiece, headDim); dim < end;
                 ++dim, ++piece) {
                fetching.step();
                sums.add([&](int q) HWY_ATTR { return hn::Set(d, piece[q * kQueryPiece]); },
                         [&](int v)
                             HWY_ATTR { return LoadBlock(d, sources[v] + dim * kKeyBlock); });
            }
        sums.forEach([&](int q, int v, BlockVector sum) HWY_ATTR {
            hn::Store(hn::Mul(sum, hn::Set(d, scale)), d, &weights.values[q][first + v * kLanes]);
        });
    }
    ahead = fetching;
}

// 2^x for x <= 0, within 2^-23 of it; 0 below 2^-125.
HWY_INLINE BlockVector Exp2(BlockVector x) {
    const BlockTag d;
    const hn::RebindToSigned<BlockTag> bits;
    const BlockVector least = hn::Set(d, -125.0F);
    const BlockVector bounded = hn::Max(least, x);  // in this order, NaN remains NaN
    // The nearest integer, with what the bits of an exponent are raised by, in the lowest bits.
    const BlockVector raise = hn::Set(d, kWholeBits + 127.0F);
    const BlockVector shifted = hn::Add(bounded, raise);
    const BlockVector rest = hn::Sub(bounded, hn::Sub(shifted, raise));
    // The polynomial of degree 6 nearest to 2^rest in [-0.5, 0.5], by its relative error.
    BlockVector power = hn::Set(d, 1.5353362E-4F);
    for (const float coefficient :
         {1.33988739E-3F, 9.61843692E-3F, 5.55033237E-2F, 2.40226477E-1F, 6.93147182E-1F, 1.0F})
        power = hn::MulAdd(power, rest, hn::Set(d, coefficient));
    const auto scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(bits, shifted)));
    return hn::IfThenZeroElse(hn::Lt(x, least), hn::Mul(power, scale));
}

// The largest score that the query has seen, in this chunk or before.
HWY_INLINE float LargestScore(const float* row, std::int64_t width, float before) {
    const BlockTag d;
    BlockVector maxima = hn::Set(d, before);
    for (std::int64_t j = 0; j < width; j += kLanes)
        maxima = hn::Max(maxima, hn::Load(d, row + j));
    return hn::GetLane(hn::MaxOfLanes(d, maxima));
}

// Scores to weights below the largest; gives their sum.
HWY_INLINE float WeighScores(float* row, std::int64_t width, float maximum) {
    const BlockTag d;
    BlockVector sums = hn::Zero(d);
    for (std::int64_t j = 0; j < width; j += kLanes) {
        const BlockVector weight = Exp2(hn::Sub(hn::Load(d, row + j), hn::Set(d, maximum)));
        hn::Store(weight, d, row + j);
        sums = hn::Add(sums, weight);
    }
    return hn::GetLane(hn::SumOfLanes(d, sums));
}

// Turns the scores of a tile of queries into weights. Each step is done for all queries before the next,
// since each is a chain of instructions that wait for one another.
template <int kQueries>
HWY_INLINE void SoftmaxChunk(ChunkWeights& weights, AttentionPartial* partials) {
    const BlockTag d;
    const std::int64_t width = (weights.widest + kLanes - 1) / kLanes * kLanes;
    HWY_ALIGN float maxima[kTileVectors * kLanes] = {};
    for (int q = 0; q < kQueries; ++q) {
        float* row = weights.values[q];
        for (std::int64_t j = weights.counts[q]; j < width; ++j)
            row[j] = kMinusInfinity;
        weights.keep[q] = partials[q].maximum;
        partials[q].maximum = LargestScore(row, width, partials[q].maximum);
        // A query that has seen no key yet: nothing less nothing would be no number.
        maxima[q] = partials[q].maximum == kMinusInfinity ? 0.0F : partials[q].maximum;
    }
    for (std::int64_t q = 0; q < kQueries; q += kLanes)
        hn::Store(Exp2(hn::Sub(hn::Load(d, weights.keep + q), hn::Load(d, maxima + q))), d,
                  weights.keep + q);
    for (int q = 0; q < kQueries; ++q) {
        const float sum = WeighScores(weights.values[q], width, maxima[q]);
        partials[q].sum = partials[q].sum * weights.keep[q] + sum;
    }
}

// Columns `dim` on, kVectors vectors of them: outputs, shrunk, += the sum over the chunk's keys of
// weight * value.
template <int kQueries, int kVectors, typename T, typename Fetching>
HWY_INLINE void WeightColumns(const T* values, std::int64_t width, std::int64_t dim,
                              const ChunkWeights& weights, Fetching& ahead,
                              AttentionPartial* partials) {
    const BlockTag d;
    RegisterTile<BlockTag, kQueries, kVectors> sums;
    sums.clear();
    Fetching fetching = ahead;
    for (std::int64_t j = 0; j < weights.widest; ++j) {
        fetching.step();
        const T* row = values + j * width + dim;
        sums.add([&](int q) HWY_ATTR { return hn::Set(d, weights.values[q][j]); },
                 [&](int v) HWY_ATTR { return LoadBlock(d, row + v * kLanes); });
    }
    ahead = fetching;
    sums.forEach([&](int q, int v, BlockVector sum) HWY_ATTR {
        float* out = partials[q].output + dim + v * kLanes;
        hn::StoreU(hn::MulAdd(hn::LoadU(d, out), hn::Set(d, weights.keep[q]), sum), d, out);
    });
}

template <int kQueries, typename T, typename Fetching>
HWY_INLINE void WeightValues(const T* values, std::int64_t width, const ChunkWeights& weights,
                             Fetching& ahead, AttentionPartial* partials) {
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

// The chunk as f32, for more tiles of queries than widening costs.
template <typename T>
HWY_INLINE Chunk<float> Widen(const Chunk<T>& chunk, float* room) {
    const BlockTag d;
    const std::int64_t keys = kKeyChunk * chunk.headDim;
    for (std::int64_t i = 0; i < keys; i += kLanes)
        hn::StoreU(LoadBlock(d, chunk.keys + i), d, room + i);
    for (std::int64_t i = 0; i < (chunk.end - chunk.begin) * chunk.width; i += kLanes)
        hn::StoreU(LoadBlock(d, chunk.values + i), d, room + keys + i);
    return {room, room + keys, chunk.headDim, chunk.width, chunk.begin, chunk.end};
}

// One chunk for a tile of queries.
template <int kQueries, typename T, typename Fetching>
HWY_INLINE void AttendChunk(const Chunk<T>& chunk, const AttentionQuery* queries,
                            const float* packed, float scale, Fetching& keys, Fetching& values,
                            AttentionPartial* partials) {
    ChunkWeights weights;
    weights.widest = 0;
    for (int q = 0; q < kQueries; ++q) {
        weights.counts[q] = std::clamp<std::int64_t>(
            std::min(chunk.end, queries[q].keyCount) - chunk.begin, 0, kKeyChunk);
        weights.widest = std::max(weights.widest, weights.counts[q]);
    }
    if (weights.widest == 0) return;
    ScoreKeys<kQueries>(chunk.keys, packed, chunk.headDim, scale, keys, weights);
    SoftmaxChunk<kQueries>(weights, partials);
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
                     std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials,
                     float* room) {
    const std::int64_t width = cpu::paddedHeadDim(kv.headDim);
    for (AttentionPartial& partial : partials) {
        partial.maximum = kMinusInfinity;
        partial.sum = 0;
        std::fill_n(partial.output, width, 0.0F);
    }
    float* wide = room;
    float* packed = room + cpu::chunkElements(kv.headDim);
    const auto packedOf = [&](std::size_t query) {
        return packed + static_cast<std::int64_t>(query) * cpu::packedQueryFloats(kv.headDim);
    };
    std::int64_t steps = 0;  // of all tiles in a chunk
    ForEachTile(queries.size(), [&](auto tile, std::size_t q) HWY_ATTR {
        steps += kKeyChunk * kv.headDim / (SideBySide(tile) * kLanes);
        PackQueries<decltype(tile)::value>(&queries[q], kv.headDim, packedOf(q));
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
        // Behind the span's last chunk there may be no memory yet, which to look for takes long.
        const std::int64_t last = (end - 1) / kKeyChunk;
        const std::int64_t next = std::min(index + 1, last);
        const std::int64_t far = std::min(index + 2, last);
        const std::int64_t ahead = index == last ? 0 : bytes;
        const auto attend = [&](const auto& seen, auto few) HWY_ATTR {
            Ahead<decltype(few)::value> keys(kv.keys(next), kv.keys(far), ahead, steps);
            Ahead<decltype(few)::value> values(kv.values(next), kv.values(far), ahead, steps);
            ForEachTile(queries.size(), [&](auto tile, std::size_t q) HWY_ATTR {
                AttendChunk<decltype(tile)::value>(seen, &queries[q], packedOf(q), scale, keys,
                                                   values, &partials[q]);
            });
        };
        if constexpr (sizeof(T) < sizeof(float)) {
            if (queries.size() >= kLeastWidened) {
                attend(Widen(chunk, wide), std::false_type());
                continue;
            }
        }
        attend(chunk, std::true_type());
    }
}

void AttendSpan(const KvHead& kv, std::span<const AttentionQuery> queries, float scale,
                std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials,
                float* room) {
    scale *= 1.44269504F;  // the logarithm of e: from here on all powers are of 2
    if (kv.precision == KvPrecision::F16)
        AttendSpanTyped<hwy::float16_t>(kv, queries, scale, begin, end, partials, room);
    else
        AttendSpanTyped<float>(kv, queries, scale, begin, end, partials, room);
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
                std::int64_t begin, std::int64_t end, std::span<AttentionPartial> partials,
                float* room) {
    HWY_DYNAMIC_DISPATCH(AttendSpan)(kv, queries, scale, begin, end, partials, room);
}

void mergePartial(AttentionPartial& into, const AttentionPartial& from, std::int64_t headDim) {
    HWY_DYNAMIC_DISPATCH(MergePartial)(into, from, headDim);
}

}  // namespace cpu
}  // namespace qllama
#endif
