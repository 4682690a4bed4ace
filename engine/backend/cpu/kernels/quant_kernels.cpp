#include "engine/backend/cpu/kernels/quant_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include <hwy/cache_control.h>

#include "engine/tensor/dtype.h"

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
    const std::int32_t* starts;
};

HWY_INLINE TokenBlocks BlocksOf(const QuantizedActivations& activations, std::int64_t token) {
    const std::int64_t first = token * activations.blocks;
    return {activations.values.data() + first * kBlockColumns, activations.scales.data() + first,
            activations.scaledSums.data() + first, activations.starts.data() + first};
}

template <QuantFormat kFormat>
constexpr std::int64_t BlockBytes() {
    return kFormat == QuantFormat::Q8 ? 544 : 288;
}

#if QLLAMA_HAVE_INT8

// Rows of a tile that one vector of 32-bit sums covers: 16, 8 or 4; and how many such vectors share
// each broadcast of activations.
constexpr std::int64_t kVectorRows = static_cast<std::int64_t>(hn::MaxLanes(IntTag()));
constexpr int kVectors = kVectorRows == kTileRows ? 1 : 2;
constexpr std::int64_t kPassRows = kVectors * kVectorRows;
constexpr std::int64_t kGroups = kBlockColumns / kGroupColumns;

// Tokens that share a block's weights while those are in registers, and of the tiles that take what
// is left. Two vectors by four tokens are 8 sums of integers, which fit 16 registers. AVX-512 has 32,
// and two additions a cycle on some processors, each done after 5: fewer sums would wait.
constexpr int kTileTokens = kVectors == 1 ? 8 : 4;
constexpr int kSmallTileTokens = kVectors == 1 ? 4 : 1;

// Keeps a sum in its register: this compiler would rather form many products first, and spill them.
template <typename Vector>
HWY_INLINE void Settle(Vector& sum) {
    asm("" : "+v"(sum.raw));
}

// One token only streams through the weights, and the processor's own prefetching stops at the end
// of each 4 KiB page. (The address may be beyond the weights: fetching ahead never faults.)
template <std::int64_t kBytes>
HWY_INLINE void FetchAhead(const std::byte* block) {
    constexpr std::int64_t kDistance = 1536;
    constexpr std::int64_t kLine = 64;
    for (std::int64_t line = 0; line < kBytes; line += kLine)
        hwy::Prefetch(block + kDistance + line);
}

// The exact integer sums of a block for kTokens tokens, `weights` being those of the pass's rows.
template <int kTokens>
HWY_INLINE void SumBlockQ8(const std::uint8_t* weights, const TokenBlocks* tokens,
                           std::int64_t index, Ints (*totals)[kVectors]) {
    for (int t = 0; t < kTokens; ++t)
        for (int v = 0; v < kVectors; ++v)
            totals[t][v] = StartSigned(tokens[t].starts + index);
#pragma GCC unroll 1
    for (std::int64_t group = 0; group < kGroups; ++group) {
        const std::int64_t column = index * kBlockColumns + group * kGroupColumns;
        SignedWeights w[kVectors];
        for (int v = 0; v < kVectors; ++v)
            w[v] = PrepareSigned(hn::LoadU(
                ByteTag(), weights + group * kGroupBytes + v * kVectorRows * kGroupColumns));
        for (int t = 0; t < kTokens; ++t) {
            const Bytes activations = BroadcastGroup(tokens[t].values + column);
            for (int v = 0; v < kVectors; ++v) {
                totals[t][v] = AddSignedGroup(totals[t][v], w[v], activations);
                Settle(totals[t][v]);
            }
        }
    }
}

template <int kTokens>
HWY_INLINE void AddNibbles(const Bytes* weights, const TokenBlocks* tokens, std::int64_t column,
                           NibbleSum (*sums)[kVectors]) {
    for (int t = 0; t < kTokens; ++t) {
        const Bytes activations = BroadcastGroup(tokens[t].values + column);
        for (int v = 0; v < kVectors; ++v) {
            sums[t][v].add(weights[v], activations);
            Settle(sums[t][v].sum);
        }
    }
}

template <int kTokens>
HWY_INLINE void SumBlockQ4(const std::uint8_t* weights, const TokenBlocks* tokens,
                           std::int64_t index, Ints (*totals)[kVectors]) {
    const Bytes lowHalf = hn::Set(ByteTag(), 15);
    NibbleSum sums[kTokens][kVectors];
    for (int t = 0; t < kTokens; ++t)
        for (int v = 0; v < kVectors; ++v)
            sums[t][v].reset();
#pragma GCC unroll 1
    for (std::int64_t group = 0; group < kGroups / 2; ++group) {
        const std::int64_t column = index * kBlockColumns + group * kGroupColumns;
        Bytes pairs[kVectors];
        Bytes halves[kVectors];
        for (int v = 0; v < kVectors; ++v) {
            pairs[v] = hn::LoadU(ByteTag(),
                                 weights + group * kGroupBytes + v * kVectorRows * kGroupColumns);
            halves[v] = hn::And(pairs[v], lowHalf);
        }
        AddNibbles<kTokens>(halves, tokens, column, sums);
        for (int v = 0; v < kVectors; ++v) {
            const auto high = hn::ShiftRight<4>(hn::BitCast(WordTag(), pairs[v]));
            halves[v] = hn::And(hn::BitCast(ByteTag(), high), lowHalf);
        }
        AddNibbles<kTokens>(halves, tokens, column + kBlockColumns / 2, sums);
    }
    for (int t = 0; t < kTokens; ++t)
        for (int v = 0; v < kVectors; ++v)
            totals[t][v] = sums[t][v].total();
}

// Rows [row, row + kPassRows) of a tile times kTokens tokens, into out[token][kTileRows]. q4's part
// with the minimum is summed apart, because the two have different row factors.
template <QuantFormat kFormat, int kTokens>
HWY_INLINE void MultiplyRows(const std::byte* tile, std::int64_t blocks, std::int64_t row,
                             const TokenBlocks* tokens, const float* factors,
                             float (*out)[kTileRows]) {
    const RowFloatTag d;
    RowFloats sums[kTokens][kVectors];
    RowFloats minimumSums[kTokens][kVectors];
    for (int t = 0; t < kTokens; ++t)
        for (int v = 0; v < kVectors; ++v)
            sums[t][v] = minimumSums[t][v] = hn::Zero(d);
    for (std::int64_t index = 0; index < blocks; ++index) {
        const std::byte* block = tile + index * BlockBytes<kFormat>();
        const auto* weights =
            reinterpret_cast<const std::uint8_t*>(block) + kTileRows * 2 + row * kGroupColumns;
        if constexpr (kTokens == 1) FetchAhead<BlockBytes<kFormat>()>(block);
        Ints totals[kTokens][kVectors];
        if constexpr (kFormat == QuantFormat::Q8)
            SumBlockQ8<kTokens>(weights, tokens, index, totals);
        else
            SumBlockQ4<kTokens>(weights, tokens, index, totals);
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t first = row + v * kVectorRows;
            const RowFloats scale = kFormat == QuantFormat::Q8 ? LoadHalves(block + first * 2)
                                                               : LoadUnsigned(block + first);
            for (int t = 0; t < kTokens; ++t)
                sums[t][v] = hn::MulAdd(hn::Mul(scale, hn::Set(d, tokens[t].scales[index])),
                                        hn::ConvertTo(d, totals[t][v]), sums[t][v]);
            if constexpr (kFormat == QuantFormat::Q4) {
                const RowFloats minimum = LoadSigned(block + kTileRows + first);
                for (int t = 0; t < kTokens; ++t)
                    minimumSums[t][v] = hn::MulAdd(minimum, hn::Set(d, tokens[t].scaledSums[index]),
                                                   minimumSums[t][v]);
            }
        }
    }
    for (int t = 0; t < kTokens; ++t) {
        for (int v = 0; v < kVectors; ++v) {
            const std::int64_t first = row + v * kVectorRows;
            if constexpr (kFormat == QuantFormat::Q4) {
                RowFloats scale, minimum;
                hn::LoadInterleaved2(d, factors + first * 2, scale, minimum);
                sums[t][v] = hn::MulAdd(scale, sums[t][v], hn::Mul(minimum, minimumSums[t][v]));
            }
            hn::StoreU(sums[t][v], d, out[t] + first);
        }
    }
}

template <QuantFormat kFormat, int kTokens>
HWY_INLINE void MultiplyTile(const std::byte* tile, std::int64_t blocks, const TokenBlocks* tokens,
                             const float* factors, float (*out)[kTileRows]) {
    for (std::int64_t row = 0; row < kTileRows; row += kPassRows)
        MultiplyRows<kFormat, kTokens>(tile, blocks, row, tokens, factors, out);
}

#else  // plain loops, for targets without 8-bit products

constexpr int kTileTokens = 1;
constexpr int kSmallTileTokens = 1;

template <QuantFormat kFormat, int kTokens>
void MultiplyTile(const std::byte* tile, std::int64_t blocks, const TokenBlocks* tokens,
                  const float* factors, float (*out)[kTileRows]) {
    for (std::int64_t row = 0; row < kTileRows; ++row) {
        float sum = 0;
        float minimumSum = 0;
        for (std::int64_t index = 0; index < blocks; ++index) {
            const std::byte* block = tile + index * BlockBytes<kFormat>();
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

int TokensOfTile(std::int64_t left) {
    return left >= kTileTokens ? kTileTokens : left >= kSmallTileTokens ? kSmallTileTokens : 1;
}

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
            const int count = TokensOfTile(n - token);
            for (int t = 0; t < count; ++t)
                tokens[t] = BlocksOf(activations, token + t);
            if (count == kTileTokens)
                MultiplyTile<kFormat, kTileTokens>(bytes, blocks, tokens, factors, results);
            else if (count == kSmallTileTokens)
                MultiplyTile<kFormat, kSmallTileTokens>(bytes, blocks, tokens, factors, results);
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
