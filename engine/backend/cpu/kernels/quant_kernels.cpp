#include "engine/backend/cpu/kernels/quant_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/quant_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/fold_lanes-inl.h"
#include "engine/backend/cpu/kernels/for_count-inl.h"
#include "engine/backend/cpu/kernels/plain_tile_products-inl.h"
#include "engine/backend/cpu/kernels/tile_products-inl.h"

HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3_DL
#pragma GCC target("avx512vnni")  // the target has it, Highway's list of flags for it does not
#endif
namespace qllama::HWY_NAMESPACE {

struct Target {
    float* out;  // [token * stride + row]
    std::int64_t stride;
    bool accumulate;
};

// The first `rows` of a tile's results for one token.
HWY_INLINE void PutRow(const float* results, std::int64_t rows, bool accumulate, float* out) {
    const hn::CappedTag<float, kTileRows> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t row = 0;
    for (; row + lanes <= rows; row += lanes) {
        const auto sum = hn::Load(d, results + row);
        hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, out + row), sum) : sum, d, out + row);
    }
    for (; row < rows; ++row)
        out[row] = accumulate ? out[row] + results[row] : results[row];
}

// kTiles tiles, `stride` apart, times the tokens [token, token + kTokens).
template <BlockFormat kFormat, int kTiles, int kTokens, int kTogether>
void MultiplyInto(const BlockMatrix& weights, std::int64_t firstTile, std::int64_t stride,
                  const QuantizedActivations& activations, std::int64_t token,
                  const Target& target) {
    Tile tiles[kTiles];
    for (int i = 0; i < kTiles; ++i) {
        const std::int64_t tile = firstTile + i * stride;
        tiles[i] = {
            weights.tiles + tile * weights.tileBytes(),
            weights.rowFactors != nullptr ? weights.rowFactors + tile * kTileRows : nullptr};
    }
    // Where several tokens' results go lies far apart and in no cache: fetched while they are computed.
    for (int i = 0; kTokens > 1 && i < kTiles; ++i)
        for (int t = 0; t < kTokens; ++t)
            FetchLines<kTileRows * sizeof(float)>(target.out + (token + t) * target.stride +
                                                  (firstTile + i * stride) * kTileRows);
    HWY_ALIGN float results[kTiles][kTokens][kTileRows];
    TileProducts<kFormat, kTiles, kTokens>(tiles, weights.blocksPerRow(),
                                           BlocksFrom<kTogether>(activations, token), results);
    for (int i = 0; i < kTiles; ++i) {
        const std::int64_t firstRow = (firstTile + i * stride) * kTileRows;
        const std::int64_t rows = std::min(kTileRows, weights.rows - firstRow);
        for (int t = 0; t < kTokens; ++t)
            PutRow(results[i][t], rows, target.accumulate,
                   target.out + (token + t) * target.stride + firstRow);
    }
}

// kTiles tiles side by side, each in its own part of what is read, so that every one is a long stream.
template <BlockFormat kFormat, int kTiles>
void MatvecTiles(const BlockMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                 const QuantizedActivations& activations, const Target& target) {
    const std::int64_t length = (endTile - beginTile) / kTiles;
    for (std::int64_t i = 0; i < length; ++i)
        MultiplyInto<kFormat, kTiles, 1, 1>(weights, beginTile + i, length, activations, 0, target);
    for (std::int64_t tile = beginTile + length * kTiles; tile < endTile; ++tile)
        MultiplyInto<kFormat, 1, 1, 1>(weights, tile, 0, activations, 0, target);
}

// kTiles neighbouring tiles times the tokens [token, end).
template <BlockFormat kFormat, int kTiles>
void MultiplyTile(const BlockMatrix& weights, std::int64_t tile,
                  const QuantizedActivations& activations, std::int64_t token, std::int64_t end,
                  const Target& target) {
    for (; token + kTileTokens <= end; token += kTileTokens)
        MultiplyInto<kFormat, kTiles, kTileTokens, kTileTokens>(weights, tile, 1, activations,
                                                                token, target);
    for (; token + kSmallTileTokens <= end; token += kSmallTileTokens)
        MultiplyInto<kFormat, kTiles, kSmallTileTokens, kTileTokens>(weights, tile, 1, activations,
                                                                     token, target);
    ForCount<kSmallTileTokens - 1>(end - token, [&](auto tokens) HWY_ATTR {
        MultiplyInto<kFormat, kTiles, decltype(tokens)::value, kTileTokens>(
            weights, tile, 1, activations, token, target);
    });
}

// So many tokens that their activations stay in the L2 cache while the tiles of a portion pass by.
std::int64_t BlockTokens(const QuantizedActivations& activations) {
    constexpr std::int64_t kBytes = std::int64_t{256} << 10;
    const std::int64_t together = activations.blocks * kBlockColumns * kTileTokens;
    return std::max<std::int64_t>(1, kBytes / together) * kTileTokens;
}

template <BlockFormat kFormat>
void MultiplyTilesOf(const BlockMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                     const QuantizedActivations& activations, std::int64_t n,
                     const Target& target) {
    if (n == 1) {
        ForCount<kMostMatvecTiles>(std::min(cpu::weightStreams.tilesTogether, kMostMatvecTiles),
                                   [&](auto tiles) HWY_ATTR {
                                       MatvecTiles<kFormat, decltype(tiles)::value>(
                                           weights, beginTile, endTile, activations, target);
                                   });
        return;
    }
    const std::int64_t tokens = BlockTokens(activations);
    for (std::int64_t token = 0; token < n; token += tokens) {
        const std::int64_t end = std::min(token + tokens, n);
        std::int64_t tile = beginTile;
        for (; tile + kTilesTogether <= endTile; tile += kTilesTogether)
            MultiplyTile<kFormat, kTilesTogether>(weights, tile, activations, token, end, target);
        for (; tile < endTile; ++tile)
            MultiplyTile<kFormat, 1>(weights, tile, activations, token, end, target);
    }
}

void MultiplyTiles(const BlockMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, std::int64_t n, float* out,
                   std::int64_t outStride, bool accumulate) {
    const Target target{out, outStride, accumulate};
    if (weights.format == BlockFormat::Q8)
        MultiplyTilesOf<BlockFormat::Q8>(weights, beginTile, endTile, activations, n, target);
    else
        MultiplyTilesOf<BlockFormat::Q4>(weights, beginTile, endTile, activations, n, target);
}

void ResizeActivations(QuantizedActivations& activations, std::int64_t n, std::int64_t columns) {
    activations.blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    activations.together = n == 1 ? 1 : kTileTokens;
    const std::int64_t tiles = (n + activations.together - 1) / activations.together;
    const auto blocks = static_cast<std::size_t>(tiles * activations.together * activations.blocks);
    const auto pairs = static_cast<std::size_t>(tiles * activations.together * activations.pairs());
    activations.values.resize(blocks * kBlockColumns);
    activations.scales.resize(pairs);
    activations.pairSums.resize(pairs);
    activations.starts.resize(blocks);
    activations.nibbleStarts.resize(blocks);
}

// Where a pair of blocks of the tokens from `token` on goes.
struct PairPlace {
    PairPlace(QuantizedActivations& activations, std::int64_t token, std::int64_t pair)
        : groups(activations.values.data() + activations.groupPlace(token, pair * 2, 0)),
          scales(activations.scales.data() + activations.pairPlace(token, pair)),
          pairSums(activations.pairSums.data() + activations.pairPlace(token, pair)),
          starts(activations.starts.data() + activations.place(token, pair * 2)),
          nibbleStarts(activations.nibbleStarts.data() + activations.place(token, pair * 2)) {}

    std::int8_t* groups;
    float* scales;
    std::int32_t* pairSums;
    std::int32_t* starts;
    std::int32_t* nibbleStarts;
};

// Left to itself this compiler collects such copies in vectors, word by word, for three times as long.
HWY_INLINE void CopyGroup(const std::int8_t* from, std::int8_t* to) {
    static_assert(kGroupColumns == sizeof(std::uint32_t));
    std::uint32_t group;
    std::memcpy(&group, from, kGroupColumns);
    asm("" : "+r"(group));
    std::memcpy(to, &group, kGroupColumns);
}

// What values are multiplied by before they are rounded. Those below 2^-120 become zeros: the quotient
// could be too large to be a number.
HWY_INLINE float InverseScale(float maximum) {
    return maximum >= 0x1p-120F ? 127.0F / maximum : 0.0F;
}

// The scale of a pair whose whole steps add up to `sum`. Where one of the values is no number or infinite, so
// is that sum, and then all that is made of them.
HWY_INLINE float ScaleOf(float maximum, float sum) {
    const bool isNumber = std::abs(sum) <= 127.0F * kRoundedColumns;
    return isNumber ? maximum / 127.0F : std::numeric_limits<float>::quiet_NaN();
}

// Rounds a pair of blocks (or the last one alone) of each token; q = round(x / scale), scale = max |x| / 127.
// The tokens take each step together, so that what a step waits for hides behind the others and AVX-512 folds
// their lanes eight vectors at once. kTogether tokens are stored together.
template <int kBlocks, int kTokens, int kTogether>
HWY_INLINE void RoundPair(const float* const* x, const PairPlace& place) {
    const F32Tag d;
    const hn::Rebind<std::int32_t, F32Tag> ints;
    const hn::Rebind<std::int8_t, F32Tag> bytes;
    constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(F32Tag()));
    F32Vector folded[kTokens];
    for (int t = 0; t < kTokens; ++t) {
        folded[t] = hn::Abs(hn::LoadU(d, x[t]));
        for (std::int64_t k = kLanes; k < kBlocks * kBlockColumns; k += kLanes)
            folded[t] = hn::Max(folded[t], hn::Abs(hn::LoadU(d, x[t] + k)));
    }
    float maxima[kTokens], sums[2][kTokens] = {};
    FoldLanes<LargestLane, kTokens>(d, folded, maxima);
    const F32Vector wholeBits = hn::Set(d, kWholeBits);
    HWY_ALIGN std::int8_t values[kTokens][kBlockColumns];
    for (int b = 0; b < kBlocks; ++b) {
        for (int t = 0; t < kTokens; ++t) {
            const F32Vector inverse = hn::Set(d, InverseScale(maxima[t]));
            folded[t] = hn::Zero(d);
            for (std::int64_t k = 0; k < kBlockColumns; k += kLanes) {
                const F32Vector given = hn::LoadU(d, x[t] + b * kBlockColumns + k);
                const F32Vector shifted = hn::Add(hn::Mul(given, inverse), wholeBits);
                folded[t] = hn::Add(folded[t], hn::Sub(shifted, wholeBits));
                const auto rounded =
                    hn::Sub(hn::BitCast(ints, shifted), hn::BitCast(ints, wholeBits));
                hn::Store(hn::DemoteTo(bytes, rounded), bytes, values[t] + k);
            }
        }
        FoldLanes<LaneSum, kTokens>(d, folded, sums[b]);
        std::int8_t* group = place.groups + b * kBlockColumns * kTogether;
        for (std::int64_t k = 0; k < kBlockColumns; k += kGroupColumns) {
            for (int t = 0; t < kTokens; ++t)
                CopyGroup(values[t] + k, group + t * kGroupColumns);
            group += kTogether * kGroupColumns;
        }
    }
    for (int t = 0; t < kTokens; ++t) {
        const float scale = ScaleOf(maxima[t], sums[0][t] + sums[1][t]);
        std::int32_t pairSum = 0;
        for (int b = 0; b < kBlocks; ++b) {
            const std::int32_t sum = std::isnan(scale) ? 0 : static_cast<std::int32_t>(sums[b][t]);
            place.starts[b * kTogether + t] = -128 * sum;
            place.nibbleStarts[b * kTogether + t] = -kMiddleStep * sum & 0xFFFF;
            pairSum |= (kMiddleStep * sum & 0xFFFF) << (16 * b);
        }
        place.scales[t] = scale;
        place.pairSums[t] = pairSum;
    }
}

// The tokens [first, first + kTokens), which lie in one tile of those that are stored together.
template <int kTokens, int kTogether>
void RoundTogether(const float* x, std::int64_t columns, std::int64_t first,
                   QuantizedActivations& activations) {
    const float* rows[kTokens];
    for (int t = 0; t < kTokens; ++t)
        rows[t] = x + (first + t) * columns;
    const std::int64_t whole = columns / kRoundedColumns;
    for (std::int64_t pair = 0; pair < whole; ++pair) {
        RoundPair<2, kTokens, kTogether>(rows, {activations, first, pair});
        for (const float*& row : rows)
            row += kRoundedColumns;
    }
    if (whole == activations.pairs()) return;
    HWY_ALIGN float padded[kTokens][kRoundedColumns] = {};
    for (int t = 0; t < kTokens; ++t) {
        std::copy_n(rows[t], columns - whole * kRoundedColumns, padded[t]);
        rows[t] = padded[t];
    }
    const PairPlace last(activations, first, whole);
    if (activations.blocks % 2 == 0)
        RoundPair<2, kTokens, kTogether>(rows, last);
    else
        RoundPair<1, kTokens, kTogether>(rows, last);
}

void RoundTokens(const float* x, std::int64_t columns, std::int64_t begin, std::int64_t end,
                 QuantizedActivations& activations) {
    if (activations.together == 1) {
        for (; begin < end; ++begin)
            RoundTogether<1, 1>(x, columns, begin, activations);
        return;
    }
    for (; begin < end && begin % kTileTokens != 0; ++begin)
        RoundTogether<1, kTileTokens>(x, columns, begin, activations);
    for (; begin + kTileTokens <= end; begin += kTileTokens)
        RoundTogether<kTileTokens, kTileTokens>(x, columns, begin, activations);
    for (; begin < end; ++begin)
        RoundTogether<1, kTileTokens>(x, columns, begin, activations);
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(ResizeActivations);
HWY_EXPORT(MultiplyTiles);
HWY_EXPORT(RoundTokens);

namespace cpu {

void resizeActivations(QuantizedActivations& activations, std::int64_t n, std::int64_t columns) {
    HWY_DYNAMIC_DISPATCH(ResizeActivations)(activations, n, columns);
}

void roundTokens(const float* x, std::int64_t columns, std::int64_t begin, std::int64_t end,
                 QuantizedActivations& activations) {
    HWY_DYNAMIC_DISPATCH(RoundTokens)(x, columns, begin, end, activations);
}

void multiplyTiles(const BlockMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, std::int64_t n, float* out,
                   std::int64_t outStride, bool accumulate) {
    HWY_DYNAMIC_DISPATCH(MultiplyTiles)
    (weights, beginTile, endTile, activations, n, out, outStride, accumulate);
}

}  // namespace cpu
}  // namespace qllama
#endif
