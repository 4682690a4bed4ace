#include "engine/backend/cpu/kernels/quant_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "engine/tensor/dtype.h"

#ifndef __clang__
#define HWY_WANT_AVX3_DL
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/quant_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/int8-inl.h"
#include "engine/backend/cpu/kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3_DL
#pragma GCC target("avx512vnni")  // the target has it, Highway's list of flags for it does not
#endif
namespace qllama::HWY_NAMESPACE {

using cpu::QuantizedActivations;

// What the kernels need of the activations of one token.
struct TokenBlocks {
    const std::int8_t* values;
    const float* scales;
    const float* scaledSums;
};

HWY_INLINE TokenBlocks BlocksOf(const QuantizedActivations& activations, std::int64_t token) {
    const std::int64_t first = token * activations.blocks;
    return {activations.values.data() + first * kBlockColumns, activations.scales.data() + first,
            activations.scaledSums.data() + first};
}

#if QLLAMA_HAVE_INT8

// Rows of a tile that one vector of 32-bit sums covers: 16, 8 or 4.
constexpr std::int64_t kVectorRows = static_cast<std::int64_t>(hn::MaxLanes(IntTag()));
constexpr std::int64_t kGroups = kBlockColumns / kGroupColumns;

// Tokens that share a block's weights while those are in registers.
constexpr int kTileTokens = 4;

// q8: one block for kTokens tokens; rows [row, row + kVectorRows) of the tile.
template <int kTokens>
HWY_INLINE void AddBlockQ8(const std::byte* block, std::int64_t row, const TokenBlocks* tokens,
                           std::int64_t index, RowFloats* sums, RowFloats*) {
    const RowFloatTag d;
    const auto* weights =
        reinterpret_cast<const std::uint8_t*>(block) + kTileRows * 2 + row * kGroupColumns;
    Ints ints[kTokens];
    for (int t = 0; t < kTokens; ++t)
        ints[t] = hn::Zero(IntTag());
    for (std::int64_t group = 0; group < kGroups; ++group) {
        const Bytes w = hn::LoadU(ByteTag(), weights + group * kGroupBytes);
        for (int t = 0; t < kTokens; ++t)
            ints[t] = AddSignedGroup(
                ints[t], w,
                BroadcastGroup(tokens[t].values + index * kBlockColumns + group * kGroupColumns));
    }
    const RowFloats scale = LoadHalves(block + row * 2);
    for (int t = 0; t < kTokens; ++t)
        sums[t] = hn::MulAdd(hn::Mul(scale, hn::Set(d, tokens[t].scales[index])),
                             hn::ConvertTo(d, ints[t]), sums[t]);
}

// q4: the part with the minimum is summed apart, because the two have different row factors.
template <int kTokens>
HWY_INLINE void AddBlockQ4(const std::byte* block, std::int64_t row, const TokenBlocks* tokens,
                           std::int64_t index, RowFloats* sums, RowFloats* minimumSums) {
    const RowFloatTag d;
    const auto* weights =
        reinterpret_cast<const std::uint8_t*>(block) + kTileRows * 2 + row * kGroupColumns;
    const Bytes lowHalf = hn::Set(ByteTag(), 15);
    NibbleSum nibbles[kTokens];
    for (int t = 0; t < kTokens; ++t)
        nibbles[t].reset();
    for (std::int64_t group = 0; group < kGroups / 2; ++group) {
        const Bytes pairs = hn::LoadU(ByteTag(), weights + group * kGroupBytes);
        const Bytes low = hn::And(pairs, lowHalf);
        const Bytes high = hn::And(
            hn::BitCast(ByteTag(), hn::ShiftRight<4>(hn::BitCast(WordTag(), pairs))), lowHalf);
        for (int t = 0; t < kTokens; ++t) {
            const std::int8_t* values =
                tokens[t].values + index * kBlockColumns + group * kGroupColumns;
            nibbles[t].add(low, BroadcastGroup(values));
            nibbles[t].add(high, BroadcastGroup(values + kBlockColumns / 2));
        }
    }
    const RowFloats scale = LoadUnsigned(block + row);
    const RowFloats minimum = LoadSigned(block + kTileRows + row);
    for (int t = 0; t < kTokens; ++t) {
        sums[t] = hn::MulAdd(hn::Mul(scale, hn::Set(d, tokens[t].scales[index])),
                             hn::ConvertTo(d, nibbles[t].total()), sums[t]);
        minimumSums[t] =
            hn::MulAdd(minimum, hn::Set(d, tokens[t].scaledSums[index]), minimumSums[t]);
    }
}

// Rows [row, row + kVectorRows) of a tile times kTokens tokens, into out[token][kTileRows].
template <QuantFormat kFormat, int kTokens>
HWY_INLINE void MultiplyRows(const std::byte* tile, std::int64_t blocks, std::int64_t row,
                             const TokenBlocks* tokens, const float* factors,
                             float (*out)[kTileRows]) {
    const RowFloatTag d;
    RowFloats sums[kTokens];
    RowFloats minimumSums[kTokens];
    for (int t = 0; t < kTokens; ++t)
        sums[t] = minimumSums[t] = hn::Zero(d);
    for (std::int64_t index = 0; index < blocks; ++index) {
        if constexpr (kFormat == QuantFormat::Q8)
            AddBlockQ8<kTokens>(tile + index * 544, row, tokens, index, sums, minimumSums);
        else
            AddBlockQ4<kTokens>(tile + index * 288, row, tokens, index, sums, minimumSums);
    }
    for (int t = 0; t < kTokens; ++t) {
        if constexpr (kFormat == QuantFormat::Q4) {
            RowFloats scale, minimum;
            hn::LoadInterleaved2(d, factors + row * 2, scale, minimum);
            sums[t] = hn::MulAdd(scale, sums[t], hn::Mul(minimum, minimumSums[t]));
        }
        hn::StoreU(sums[t], d, out[t] + row);
    }
}

template <QuantFormat kFormat, int kTokens>
HWY_INLINE void MultiplyTile(const std::byte* tile, std::int64_t blocks, const TokenBlocks* tokens,
                             const float* factors, float (*out)[kTileRows]) {
    for (std::int64_t row = 0; row < kTileRows; row += kVectorRows)
        MultiplyRows<kFormat, kTokens>(tile, blocks, row, tokens, factors, out);
}

#else  // plain loops, for targets without 8-bit products

constexpr int kTileTokens = 1;

template <QuantFormat kFormat, int kTokens>
void MultiplyTile(const std::byte* tile, std::int64_t blocks, const TokenBlocks* tokens,
                  const float* factors, float (*out)[kTileRows]) {
    const std::int64_t blockBytes = infoOf(kFormat).blockBytes;
    for (std::int64_t row = 0; row < kTileRows; ++row) {
        float sum = 0;
        float minimumSum = 0;
        for (std::int64_t index = 0; index < blocks; ++index) {
            const std::byte* block = tile + index * blockBytes;
            const std::byte* weights = block + kTileRows * 2 + row * kGroupColumns;
            const std::int8_t* values = tokens[0].values + index * kBlockColumns;
            std::int32_t total = 0;
            constexpr std::int64_t kStored = kFormat == QuantFormat::Q8 ? 32 : 16;
            for (std::int64_t k = 0; k < kStored; ++k) {
                const std::byte w = weights[k / kGroupColumns * kGroupBytes + k % kGroupColumns];
                if constexpr (kFormat == QuantFormat::Q8)
                    total += static_cast<std::int8_t>(w) * values[k];
                else
                    total += std::to_integer<int>(w & std::byte{15}) * values[k] +
                             std::to_integer<int>(w >> 4) * values[k + 16];
            }
            if constexpr (kFormat == QuantFormat::Q8) {
                std::uint16_t half;
                std::memcpy(&half, block + row * 2, sizeof half);
                sum += halfToFloat(half) * tokens[0].scales[index] * static_cast<float>(total);
            } else {
                sum += static_cast<float>(std::to_integer<int>(block[row])) *
                       tokens[0].scales[index] * static_cast<float>(total);
                minimumSum += static_cast<float>(static_cast<std::int8_t>(block[kTileRows + row])) *
                              tokens[0].scaledSums[index];
            }
        }
        out[0][row] = kFormat == QuantFormat::Q8
                          ? sum
                          : factors[row * 2] * sum + factors[row * 2 + 1] * minimumSum;
    }
}

#endif  // QLLAMA_HAVE_INT8

template <QuantFormat kFormat>
void MultiplyTilesOf(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                     const QuantizedActivations& activations, std::int64_t n, float* out,
                     std::int64_t outStride, bool accumulate) {
    const std::int64_t blocks = weights.blocksPerRow();
    for (std::int64_t tile = beginTile; tile < endTile; ++tile) {
        const std::byte* bytes = weights.tiles + tile * weights.tileBytes();
        const float* factors =
            weights.rowFactors != nullptr ? weights.rowFactors + tile * kTileRows * 2 : nullptr;
        const std::int64_t firstRow = tile * kTileRows;
        const std::int64_t rows = std::min(kTileRows, weights.rows - firstRow);
        for (std::int64_t token = 0; token < n;) {
            HWY_ALIGN float results[kTileTokens][kTileRows];
            TokenBlocks tokens[kTileTokens];
            const int count = n - token >= kTileTokens ? kTileTokens : 1;
            for (int t = 0; t < count; ++t)
                tokens[t] = BlocksOf(activations, token + t);
            if (count == kTileTokens)
                MultiplyTile<kFormat, kTileTokens>(bytes, blocks, tokens, factors, results);
            else
                MultiplyTile<kFormat, 1>(bytes, blocks, tokens, factors, results);
            for (int t = 0; t < count; ++t, ++token) {
                float* target = out + token * outStride + firstRow;
                for (std::int64_t row = 0; row < rows; ++row)
                    target[row] = accumulate ? target[row] + results[t][row] : results[t][row];
            }
        }
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

// Rounds one block of 32 activations; q = round(x / scale), scale = max |x| / 127.
void QuantizeBlock(const float* x, std::int8_t* values, float* scale, float* scaledSum) {
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
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < kBlockColumns; ++k) {
        values[k] = static_cast<std::int8_t>(rounded[k]);
        sum += rounded[k];
    }
    *scale = maximum / 127.0F;
    *scaledSum = *scale * static_cast<float>(sum);
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
        QuantizeBlock(source, activations.values.data() + index * kBlockColumns,
                      activations.scales.data() + index, activations.scaledSums.data() + index);
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
