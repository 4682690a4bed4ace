// Quantised tiles times rounded activations, in the registers of each instruction set. Included once a
// target.
#if defined(QLLAMA_CPU_TILE_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_TILE_PRODUCTS_INL_H
#undef QLLAMA_CPU_TILE_PRODUCTS_INL_H
#else
#define QLLAMA_CPU_TILE_PRODUCTS_INL_H
#endif

#include <hwy/cache_control.h>

#include <cstddef>
#include <cstring>

#include "engine/backend/cpu/kernels/int8-inl.h"
#include "engine/backend/cpu/kernels/load-inl.h"
#include "engine/backend/cpu/kernels/quant_kernels.h"
#include "engine/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3_DL
#pragma GCC target("avx512vnni")  // the target has it, Highway's list of flags for it does not
#endif
namespace qllama::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

struct Tile {
    const std::byte* blocks;
    const float* factors;  // null for q8
};

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

// Tiles that one token alone goes through side by side, each in its own part of the portion: two
// streams from memory are faster than one (by 11 % at q8, 4 % at q4), and more do not help. Taking
// turns after 2, 4 or 8 blocks instead of each is slower.
constexpr int kMatvecTiles = 2;

// One token only streams through the weights, and the processor's own prefetching stops at the end
// of each 4 KiB page. (The address may be beyond the weights: fetching ahead never faults.)
template <std::int64_t kBytes>
HWY_INLINE void FetchAhead(const std::byte* block) {
    constexpr std::int64_t kDistance = 1024;
    constexpr std::int64_t kLine = 64;
    for (std::int64_t line = 0; line < kBytes; line += kLine)
        hwy::Prefetch(block + kDistance + line);
}

// Calls group(0), group(1), ...: written out for one token, where the loop would be a good part of the
// work, but as a loop for several, which fill the registers.
template <int kTokens, std::int64_t kCount, typename Group>
HWY_INLINE void ForGroups(const Group& group) {
    if constexpr (kTokens == 1) {
#pragma GCC unroll 8
        for (std::int64_t i = 0; i < kCount; ++i)
            group(i);
    } else {
#pragma GCC unroll 1
        for (std::int64_t i = 0; i < kCount; ++i)
            group(i);
    }
}

// The exact integer sums of a block for kTokens tokens, `weights` being those of the pass's rows.
template <int kTokens>
HWY_INLINE void SumBlockQ8(const std::uint8_t* weights, const TokenBlocks* tokens,
                           std::int64_t index, Ints (*totals)[kVectors]) {
    for (int t = 0; t < kTokens; ++t)
        for (int v = 0; v < kVectors; ++v)
            totals[t][v] = StartSigned(tokens[t].starts + index);
    ForGroups<kTokens, kGroups>([&](std::int64_t group) HWY_ATTR {
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
    });
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
    ForGroups<kTokens, kGroups / 2>([&](std::int64_t group) HWY_ATTR {
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
    });
    for (int t = 0; t < kTokens; ++t)
        for (int v = 0; v < kVectors; ++v)
            totals[t][v] = sums[t][v].total();
}

// The products so far of rows [row, row + kPassRows) of a tile with kTokens tokens. q4's part with the
// minimum is summed apart, because the two have different row factors.
template <QuantFormat kFormat, int kTokens>
struct PassSums {
    RowFloats sums[kTokens][kVectors];
    RowFloats minimumSums[kTokens][kVectors];

    HWY_INLINE void reset() {
        for (int t = 0; t < kTokens; ++t)
            for (int v = 0; v < kVectors; ++v)
                sums[t][v] = minimumSums[t][v] = hn::Zero(RowFloatTag());
    }

    HWY_INLINE void addBlock(const std::byte* block, std::int64_t row, const TokenBlocks* tokens,
                             std::int64_t index) {
        const RowFloatTag d;
        const auto* weights =
            reinterpret_cast<const std::uint8_t*>(block) + kTileRows * 2 + row * kGroupColumns;
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

    HWY_INLINE void store(std::int64_t row, const float* factors, float (*out)[kTileRows]) const {
        const RowFloatTag d;
        for (int t = 0; t < kTokens; ++t)
            for (int v = 0; v < kVectors; ++v) {
                const std::int64_t first = row + v * kVectorRows;
                RowFloats sum = sums[t][v];
                if constexpr (kFormat == QuantFormat::Q4) {
                    RowFloats scale, minimum;
                    hn::LoadInterleaved2(d, factors + first * 2, scale, minimum);
                    sum = hn::MulAdd(scale, sum, hn::Mul(minimum, minimumSums[t][v]));
                }
                hn::StoreU(sum, d, out[t] + first);
            }
    }
};

// kTiles tiles, a block of each in turn, times kTokens tokens: out[tile][token][row].
template <QuantFormat kFormat, int kTiles, int kTokens>
HWY_INLINE void TileProducts(const Tile* tiles, std::int64_t blocks, const TokenBlocks* tokens,
                             float (*out)[kTokens][kTileRows]) {
    for (std::int64_t row = 0; row < kTileRows; row += kPassRows) {
        PassSums<kFormat, kTokens> sums[kTiles];
        for (auto& sum : sums)
            sum.reset();
        for (std::int64_t index = 0; index < blocks; ++index)
#pragma GCC unroll 2
            for (int i = 0; i < kTiles; ++i) {
                const std::byte* block = tiles[i].blocks + index * BlockBytes<kFormat>();
                if constexpr (kTokens == 1) FetchAhead<BlockBytes<kFormat>()>(block);
                sums[i].addBlock(block, row, tokens, index);
            }
        for (int i = 0; i < kTiles; ++i)
            sums[i].store(row, tiles[i].factors, out[i]);
    }
}

#else  // plain loops, for targets without 8-bit products

constexpr int kTileTokens = 1;
constexpr int kSmallTileTokens = 1;
constexpr int kMatvecTiles = 1;

template <QuantFormat kFormat, int, int>
void TileProducts(const Tile* tile, std::int64_t blocks, const TokenBlocks* tokens,
                  float (*out)[1][kTileRows]) {
    const float* factors = tile->factors;
    for (std::int64_t row = 0; row < kTileRows; ++row) {
        float sum = 0;
        float minimumSum = 0;
        for (std::int64_t index = 0; index < blocks; ++index) {
            const std::byte* block = tile->blocks + index * BlockBytes<kFormat>();
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
        out[0][0][row] = kFormat == QuantFormat::Q8
                             ? sum
                             : factors[row * 2] * sum + factors[row * 2 + 1] * minimumSum;
    }
}

#endif  // QLLAMA_HAVE_INT8

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
