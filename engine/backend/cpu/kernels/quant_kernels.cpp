#include "engine/backend/cpu/kernels/quant_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/quant_kernels.cpp"
#include <hwy/foreach_target.h>

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
template <QuantFormat kFormat, int kTiles, int kTokens, int kTogether>
void MultiplyInto(const QuantizedMatrix& weights, std::int64_t firstTile, std::int64_t stride,
                  const QuantizedActivations& activations, std::int64_t token,
                  const Target& target) {
    Tile tiles[kTiles];
    for (int i = 0; i < kTiles; ++i) {
        const std::int64_t tile = firstTile + i * stride;
        tiles[i] = {
            weights.tiles + tile * weights.tileBytes(),
            weights.rowFactors != nullptr ? weights.rowFactors + tile * kTileRows * 2 : nullptr};
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

template <QuantFormat kFormat>
void MatvecTilesOf(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, const Target& target) {
    const std::int64_t length = (endTile - beginTile) / kMatvecTiles;
    for (std::int64_t i = 0; i < length; ++i)
        MultiplyInto<kFormat, kMatvecTiles, 1, 1>(weights, beginTile + i, length, activations, 0,
                                                  target);
    for (std::int64_t tile = beginTile + length * kMatvecTiles; tile < endTile; ++tile)
        MultiplyInto<kFormat, 1, 1, 1>(weights, tile, 0, activations, 0, target);
}

// kTiles neighbouring tiles times the tokens [token, end).
template <QuantFormat kFormat, int kTiles>
void MultiplyTile(const QuantizedMatrix& weights, std::int64_t tile,
                  const QuantizedActivations& activations, std::int64_t token, std::int64_t end,
                  const Target& target) {
    for (; token + kTileTokens <= end; token += kTileTokens)
        MultiplyInto<kFormat, kTiles, kTileTokens, kTileTokens>(weights, tile, 1, activations,
                                                                token, target);
    for (; token + kSmallTileTokens <= end; token += kSmallTileTokens)
        MultiplyInto<kFormat, kTiles, kSmallTileTokens, kTileTokens>(weights, tile, 1, activations,
                                                                     token, target);
    for (; token < end; ++token)
        MultiplyInto<kFormat, kTiles, 1, kTileTokens>(weights, tile, 1, activations, token, target);
}

// So many tokens that their activations stay in the L2 cache while the tiles of a portion pass by.
std::int64_t BlockTokens(const QuantizedActivations& activations) {
    constexpr std::int64_t kBytes = std::int64_t{256} << 10;
    const std::int64_t together = activations.blocks * kBlockColumns * kTileTokens;
    return std::max<std::int64_t>(1, kBytes / together) * kTileTokens;
}

template <QuantFormat kFormat>
void MultiplyTilesOf(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                     const QuantizedActivations& activations, std::int64_t n,
                     const Target& target) {
    if (n == 1) return MatvecTilesOf<kFormat>(weights, beginTile, endTile, activations, target);
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

void MultiplyTiles(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, std::int64_t n, float* out,
                   std::int64_t outStride, bool accumulate) {
    const Target target{out, outStride, accumulate};
    if (weights.format == QuantFormat::Q8)
        MultiplyTilesOf<QuantFormat::Q8>(weights, beginTile, endTile, activations, n, target);
    else
        MultiplyTilesOf<QuantFormat::Q4>(weights, beginTile, endTile, activations, n, target);
}

void ResizeActivations(QuantizedActivations& activations, std::int64_t n, std::int64_t columns) {
    activations.blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    activations.together = n == 1 ? 1 : kTileTokens;
    activations.n = n;
    const auto blocks =
        static_cast<std::size_t>(activations.tiles() * activations.together * activations.blocks);
    activations.values.resize(blocks * kBlockColumns);
    activations.scales.resize(blocks);
    activations.scaledSums.resize(blocks);
    activations.starts.resize(blocks);
}

// Where a token's first block lies; those of other tokens of its tile are between it and the next one.
struct TokenRow {
    TokenRow(std::int64_t token, QuantizedActivations& activations)
        : together(activations.together),
          groups(activations.values.data() + activations.groupPlace(token, 0, 0)),
          scales(activations.scales.data() + activations.place(token, 0)),
          scaledSums(activations.scaledSums.data() + activations.place(token, 0)),
          starts(activations.starts.data() + activations.place(token, 0)) {}

    // Of a token further on in the same tile.
    [[nodiscard]] TokenRow after(std::int64_t tokens) const {
        TokenRow row = *this;
        row.groups += tokens * kGroupColumns;
        row.scales += tokens;
        row.scaledSums += tokens;
        row.starts += tokens;
        return row;
    }

    std::int64_t together;
    std::int8_t* groups;
    float* scales;
    float* scaledSums;
    std::int32_t* starts;
};

// Rounds a block of 32 activations; q = round(x / scale), scale = max |x| / 127.
HWY_INLINE void QuantizeBlock(const float* x, std::int64_t block, const TokenRow& row) {
    const hn::CappedTag<float, kBlockColumns> d;
    const hn::Rebind<std::int32_t, decltype(d)> ints;
    const hn::Rebind<std::int8_t, decltype(d)> bytes;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    auto largest = hn::Zero(d);
    for (std::int64_t k = 0; k < kBlockColumns; k += lanes)
        largest = hn::Max(largest, hn::Abs(hn::LoadU(d, x + k)));
    const float maximum = hn::GetLane(hn::MaxOfLanes(d, largest));
    const float inverse = maximum > 0 ? 127.0F / maximum : 0.0F;
    const auto wholeBits = hn::Set(d, kWholeBits);
    HWY_ALIGN std::int8_t values[kBlockColumns];
    auto sums = hn::Zero(ints);
    for (std::int64_t k = 0; k < kBlockColumns; k += lanes) {
        const auto scaled = hn::Mul(hn::LoadU(d, x + k), hn::Set(d, inverse));
        const auto rounded =
            hn::Sub(hn::BitCast(ints, hn::Add(scaled, wholeBits)), hn::BitCast(ints, wholeBits));
        sums = hn::Add(sums, rounded);
        hn::Store(hn::DemoteTo(bytes, rounded), bytes, values + k);
    }
    std::int8_t* group = row.groups + block * row.together * kBlockColumns;
    for (std::int64_t k = 0; k < kBlockColumns; k += kGroupColumns) {
        std::memcpy(group, values + k, kGroupColumns);
        group += row.together * kGroupColumns;
    }
    const float scale = maximum / 127.0F;
    const std::int32_t sum = hn::GetLane(hn::SumOfLanes(ints, sums));
    const std::int64_t place = block * row.together;
    row.scales[place] = scale;
    row.scaledSums[place] = scale * static_cast<float>(sum);
    row.starts[place] = -128 * sum;
}

// A block of each token in turn, since they lie beside each other.
void QuantizeTile(const float* x, std::int64_t columns, std::int64_t tile,
                  QuantizedActivations& activations) {
    const std::int64_t begin = tile * activations.together;
    const std::int64_t end = std::min(begin + activations.together, activations.n);
    const TokenRow first(begin, activations);
    for (std::int64_t column = 0; column < columns; column += kBlockColumns)
        for (std::int64_t token = begin; token < end; ++token) {
            const float* source = x + token * columns + column;
            HWY_ALIGN float padded[kBlockColumns];
            if (columns - column < kBlockColumns) {
                std::fill(padded, padded + kBlockColumns, 0.0F);
                std::memcpy(padded, source,
                            static_cast<std::size_t>(columns - column) * sizeof(float));
                source = padded;
            }
            QuantizeBlock(source, column / kBlockColumns, first.after(token - begin));
        }
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(ResizeActivations);
HWY_EXPORT(MultiplyTiles);
HWY_EXPORT(QuantizeTile);

namespace cpu {

void resizeActivations(QuantizedActivations& activations, std::int64_t n, std::int64_t columns) {
    HWY_DYNAMIC_DISPATCH(ResizeActivations)(activations, n, columns);
}

void quantizeTile(const float* x, std::int64_t columns, std::int64_t tile,
                  QuantizedActivations& activations) {
    HWY_DYNAMIC_DISPATCH(QuantizeTile)(x, columns, tile, activations);
}

void multiplyTiles(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, std::int64_t n, float* out,
                   std::int64_t outStride, bool accumulate) {
    HWY_DYNAMIC_DISPATCH(MultiplyTiles)
    (weights, beginTile, endTile, activations, n, out, outStride, accumulate);
}

}  // namespace cpu
}  // namespace qllama
#endif
