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

// kTiles tiles, `stride` apart, times the tokens [token, token + kTokens).
template <QuantFormat kFormat, int kTiles, int kTokens>
void MultiplyInto(const QuantizedMatrix& weights, std::int64_t firstTile, std::int64_t stride,
                  const QuantizedActivations& activations, std::int64_t token, float* out,
                  std::int64_t outStride, bool accumulate) {
    Tile tiles[kTiles];
    TokenBlocks tokens[kTokens];
    for (int i = 0; i < kTiles; ++i) {
        const std::int64_t tile = firstTile + i * stride;
        tiles[i] = {
            weights.tiles + tile * weights.tileBytes(),
            weights.rowFactors != nullptr ? weights.rowFactors + tile * kTileRows * 2 : nullptr};
    }
    for (int t = 0; t < kTokens; ++t)
        tokens[t] = BlocksOf(activations, token + t);
    HWY_ALIGN float results[kTiles][kTokens][kTileRows];
    TileProducts<kFormat, kTiles, kTokens>(tiles, weights.blocksPerRow(), tokens, results);
    for (int i = 0; i < kTiles; ++i) {
        const std::int64_t firstRow = (firstTile + i * stride) * kTileRows;
        const std::int64_t rows = std::min(kTileRows, weights.rows - firstRow);
        for (int t = 0; t < kTokens; ++t) {
            float* target = out + (token + t) * outStride + firstRow;
            for (std::int64_t row = 0; row < rows; ++row)
                target[row] = accumulate ? target[row] + results[i][t][row] : results[i][t][row];
        }
    }
}

template <QuantFormat kFormat>
void MatvecTilesOf(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, float* out, bool accumulate) {
    const std::int64_t length = (endTile - beginTile) / kMatvecTiles;
    for (std::int64_t i = 0; i < length; ++i)
        MultiplyInto<kFormat, kMatvecTiles, 1>(weights, beginTile + i, length, activations, 0, out,
                                               0, accumulate);
    for (std::int64_t tile = beginTile + length * kMatvecTiles; tile < endTile; ++tile)
        MultiplyInto<kFormat, 1, 1>(weights, tile, 0, activations, 0, out, 0, accumulate);
}

template <QuantFormat kFormat>
void MultiplyTilesOf(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                     const QuantizedActivations& activations, std::int64_t n, float* out,
                     std::int64_t outStride, bool accumulate) {
    if (n == 1)
        return MatvecTilesOf<kFormat>(weights, beginTile, endTile, activations, out, accumulate);
    for (std::int64_t tile = beginTile; tile < endTile; ++tile) {
        std::int64_t token = 0;
        for (; token + kTileTokens <= n; token += kTileTokens)
            MultiplyInto<kFormat, 1, kTileTokens>(weights, tile, 0, activations, token, out,
                                                  outStride, accumulate);
        for (; token + kSmallTileTokens <= n; token += kSmallTileTokens)
            MultiplyInto<kFormat, 1, kSmallTileTokens>(weights, tile, 0, activations, token, out,
                                                       outStride, accumulate);
        for (; token < n; ++token)
            MultiplyInto<kFormat, 1, 1>(weights, tile, 0, activations, token, out, outStride,
                                        accumulate);
    }
}

void MultiplyTiles(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, std::int64_t n, float* out,
                   std::int64_t outStride, bool accumulate) {
    if (weights.format == QuantFormat::Q8)
        MultiplyTilesOf<QuantFormat::Q8>(weights, beginTile, endTile, activations, n, out,
                                         outStride, accumulate);
    else
        MultiplyTilesOf<QuantFormat::Q4>(weights, beginTile, endTile, activations, n, out,
                                         outStride, accumulate);
}

// Rounds block `index` of 32 activations; q = round(x / scale), scale = max |x| / 127.
void QuantizeBlock(const float* x, std::int64_t index, QuantizedActivations& activations) {
    const hn::CappedTag<float, kBlockColumns> d;
    const hn::Rebind<std::int32_t, decltype(d)> ints;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    auto largest = hn::Zero(d);
    for (std::int64_t k = 0; k < kBlockColumns; k += lanes)
        largest = hn::Max(largest, hn::Abs(hn::LoadU(d, x + k)));
    const float maximum = hn::GetLane(hn::MaxOfLanes(d, largest));
    const float inverse = maximum > 0 ? 127.0F / maximum : 0.0F;
    HWY_ALIGN std::int32_t rounded[kBlockColumns];
    for (std::int64_t k = 0; k < kBlockColumns; k += lanes)
        hn::Store(hn::NearestInt(hn::Mul(hn::LoadU(d, x + k), hn::Set(d, inverse))), ints,
                  rounded + k);
    std::int8_t* values = activations.values.data() + index * kBlockColumns;
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < kBlockColumns; ++k) {
        values[k] = static_cast<std::int8_t>(rounded[k]);
        sum += rounded[k];
    }
    const float scale = maximum / 127.0F;
    const auto block = static_cast<std::size_t>(index);
    activations.scales[block] = scale;
    activations.scaledSums[block] = scale * static_cast<float>(sum);
    activations.starts[block] = -128 * sum;
}

void QuantizeRow(const float* x, std::int64_t columns, std::int64_t row,
                 QuantizedActivations& activations) {
    std::int64_t index = row * activations.blocks;
    for (std::int64_t column = 0; column < columns; column += kBlockColumns, ++index) {
        const float* source = x + column;
        HWY_ALIGN float padded[kBlockColumns] = {};
        if (columns - column < kBlockColumns) {
            std::memcpy(padded, source, static_cast<std::size_t>(columns - column) * sizeof(float));
            source = padded;
        }
        QuantizeBlock(source, index, activations);
    }
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(MultiplyTiles);
HWY_EXPORT(QuantizeRow);

namespace cpu {

void resizeActivations(QuantizedActivations& activations, std::int64_t n, std::int64_t columns) {
    activations.blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    const auto blocks = static_cast<std::size_t>(n * activations.blocks);
    activations.values.resize(blocks * kBlockColumns);
    activations.scales.resize(blocks);
    activations.scaledSums.resize(blocks);
    activations.starts.resize(blocks);
}

void quantizeRow(const float* x, std::int64_t columns, std::int64_t row,
                 QuantizedActivations& activations) {
    HWY_DYNAMIC_DISPATCH(QuantizeRow)(x, columns, row, activations);
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
