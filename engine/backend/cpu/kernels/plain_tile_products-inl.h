// Quantised tiles times rounded activations in plain loops, for targets without 8-bit products. Included once
// a target.
#if defined(QLLAMA_CPU_PLAIN_TILE_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_PLAIN_TILE_PRODUCTS_INL_H
#undef QLLAMA_CPU_PLAIN_TILE_PRODUCTS_INL_H
#else
#define QLLAMA_CPU_PLAIN_TILE_PRODUCTS_INL_H
#endif

#include <algorithm>
#include <cstring>

#include "engine/backend/cpu/kernels/int8-inl.h"
#include "engine/backend/cpu/kernels/tile_operands-inl.h"
#include "engine/tensor/dtype.h"

#if !QLLAMA_HAVE_INT8
HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

constexpr int kTilesTogether = 1;
constexpr int kTileTokens = 1;
constexpr int kSmallTileTokens = 1;
constexpr int kMostMatvecTiles = 1;

// The sum of q times activations over a block, for a row.
std::int32_t BlockSumQ8(const std::byte* block, std::int64_t row, const std::int8_t* values) {
    const std::byte* weights = block + kTileRows * 2 + row * kGroupColumns;
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < kBlockColumns; ++k)
        sum +=
            static_cast<std::int8_t>(weights[k / kGroupColumns * kGroupBytes + k % kGroupColumns]) *
            values[k];
    return sum;
}

// The same with q4, of weights in steps of the row's factor.
std::int32_t BlockSumQ4(const std::byte* block, std::int64_t row, const std::int8_t* values) {
    const std::byte* weights = block + kTileRows * 2 + row * kGroupColumns;
    const int scale = std::to_integer<int>(block[row]);
    const int middle = kMiddleStep * static_cast<std::int8_t>(block[kTileRows + row]);
    constexpr std::int64_t kStored = kBlockColumns / 2;
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < kStored; ++k) {
        const std::byte w = weights[k / kGroupColumns * kGroupBytes + k % kGroupColumns];
        const int low = std::to_integer<int>(w & std::byte{15}) - kMiddleStep;
        const int high = std::to_integer<int>(w >> 4) - kMiddleStep;
        sum += (scale * low + middle) * values[k] + (scale * high + middle) * values[k + kStored];
    }
    return sum;
}

// The sum over two blocks, or over the last one.
template <BlockFormat kFormat>
float PairSum(const std::byte* blocks, std::int64_t count, std::int64_t row,
              const std::int8_t* values) {
    std::int32_t steps = 0;
    float sum = 0;
    for (std::int64_t b = 0; b < count; ++b) {
        const std::byte* block = blocks + b * BlockBytes<kFormat>();
        const std::int8_t* mine = values + b * kBlockColumns;
        if constexpr (kFormat == BlockFormat::Q4) {
            steps += BlockSumQ4(block, row, mine);
        } else {
            std::uint16_t scale;
            std::memcpy(&scale, block + row * 2, sizeof scale);
            sum += halfToFloat(scale) * static_cast<float>(BlockSumQ8(block, row, mine));
        }
    }
    return kFormat == BlockFormat::Q4 ? static_cast<float>(steps) : sum;
}

template <BlockFormat kFormat, int, int, int kStride>
void TileProducts(const Tile* tile, std::int64_t blocks, const TokenBlocks<kStride>& tokens,
                  float (*out)[1][kTileRows]) {
    for (std::int64_t row = 0; row < kTileRows; ++row) {
        float sum = 0;
        for (std::int64_t index = 0; index < blocks; index += 2)
            sum += tokens.scales[index / 2] *
                   PairSum<kFormat>(tile->blocks + index * BlockBytes<kFormat>(),
                                    std::min<std::int64_t>(2, blocks - index), row,
                                    tokens.groups + index * kBlockColumns);
        out[0][0][row] = kFormat == BlockFormat::Q8 ? sum : sum * tile->factors[row];
    }
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // !QLLAMA_HAVE_INT8

#endif
