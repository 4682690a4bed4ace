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
#include <type_traits>
#include <utility>

#include "engine/backend/cpu/kernels/int8-inl.h"
#include "engine/backend/cpu/kernels/quant_kernels.h"
#include "engine/backend/cpu/kernels/register_tile-inl.h"
#include "engine/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3_DL
#pragma GCC target("avx512vnni")  // the target has it, Highway's list of flags for it does not
#endif
namespace qllama::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using cpu::QuantizedActivations;

// The activations of neighbouring tokens, kStride of them being stored together.
template <int kStride>
struct TokenBlocks {
    const std::int8_t* groups;  // of four columns, [block][group][kStride][4]
    const float* scales;        // [block][kStride], as those below
    const float* scaledSums;
    const std::int32_t* starts;
};

template <int kStride>
HWY_INLINE TokenBlocks<kStride> BlocksFrom(const QuantizedActivations& activations,
                                           std::int64_t token) {
    const std::int64_t first = activations.place(token, 0);
    return {activations.values.data() + activations.groupPlace(token, 0, 0),
            activations.scales.data() + first, activations.scaledSums.data() + first,
            activations.starts.data() + first};
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
constexpr int kGroups = kBlockColumns / kGroupColumns;

// Tokens that share a block's weights while those are in registers, and of the tiles that take what
// is left. Two vectors by four tokens are 8 sums of integers, which fit 16 registers. AVX-512 has 32,
// and two additions a cycle, each done after 5: fewer than 10 sums would wait.
constexpr int kTileTokens = kVectors == 1 ? 12 : 4;
constexpr int kSmallTileTokens = kVectors == 1 ? 4 : 1;

// Tiles that one token alone goes through side by side, each in its own part of the portion: two
// streams from memory are faster than one (by 11 % at q8, 4 % at q4), and more do not help. Taking
// turns after 2, 4 or 8 blocks instead of each is slower.
constexpr int kMatvecTiles = 2;

template <std::int64_t kBytes>
HWY_INLINE void FetchLines(const void* begin) {
    constexpr std::int64_t kLine = 64;
    for (std::int64_t line = 0; line < kBytes; line += kLine)
        hwy::Prefetch(static_cast<const std::byte*>(begin) + line);
}

// One token only streams through the weights, and the processor's own prefetching stops at the end of each
// 4 KiB page. For several, weights and activations come from the L2 cache, a block ahead being enough.
// (The addresses may be beyond both: fetching ahead never faults.)
template <QuantFormat kFormat, int kTokens, int kStride>
HWY_INLINE void FetchAhead(const std::byte* block, const TokenBlocks<kStride>& tokens,
                           std::int64_t index) {
    constexpr std::int64_t kBytes = BlockBytes<kFormat>();
    if constexpr (kTokens == 1) {
        FetchLines<kBytes>(block + 1024);
    } else {
        FetchLines<kBytes>(block + kBytes);
        FetchLines<kBlockColumns * kStride>(tokens.groups + (index + 1) * kBlockColumns * kStride);
    }
}

// The exact integer sums of a block for kTokens tokens, counted through at compile time alone: else this
// compiler keeps them in memory.
template <QuantFormat kFormat, int kTokens, int kStride>
class BlockSums {
public:
    // `weights` are those of the pass's rows.
    HWY_INLINE void sum(const std::uint8_t* weights, const TokenBlocks<kStride>& tokens,
                        std::int64_t index) {
        start(tokens.starts + index * kStride, kSums);
        const std::int8_t* groups = tokens.groups + index * kBlockColumns * kStride;
        // Written out for one token, where the loop would be a good part of the work, but as a loop for
        // several, which fill the registers.
        if constexpr (kTokens == 1) {
            addEach(weights, groups, std::make_integer_sequence<int, kStoredGroups>());
        } else {
#pragma GCC unroll 1
            for (int group = 0; group < kStoredGroups; ++group)
                addStored(weights, groups, group);
        }
    }
    HWY_INLINE RowFloats total(int token, int vector) const {
        return hn::ConvertTo(RowFloatTag(), m_sums[token * kVectors + vector].total());
    }

private:
    static constexpr int kStoredGroups = kFormat == QuantFormat::Q8 ? kGroups : kGroups / 2;
    static constexpr std::make_integer_sequence<int, kTokens * kVectors> kSums{};
    static constexpr std::make_integer_sequence<int, kVectors> kEach{};

    template <int... kSum>
    HWY_INLINE void start(const std::int32_t* starts, std::integer_sequence<int, kSum...>) {
        (m_sums[kSum].start(starts + kSum / kVectors), ...);
    }

    template <int... kGroup>
    HWY_INLINE void addEach(const std::uint8_t* weights, const std::int8_t* groups,
                            std::integer_sequence<int, kGroup...>) {
        (addStored(weights, groups, kGroup), ...);
    }
    HWY_INLINE void addStored(const std::uint8_t* weights, const std::int8_t* groups, int index) {
        const std::int8_t* group = groups + index * kGroupColumns * kStride;
        weights += index * kGroupBytes;
        if constexpr (kFormat == QuantFormat::Q8) {
            addSigned(weights, group, kEach);
        } else {
            addHalves(weights, group, kEach);
        }
    }
    template <int... kVector>
    HWY_INLINE void addSigned(const std::uint8_t* weights, const std::int8_t* group,
                              std::integer_sequence<int, kVector...>) {
        const SignedWeights each[] = {PrepareSigned(bytesOf(weights, kVector))...};
        add(each, group, kSums);
    }
    template <int... kVector>
    HWY_INLINE void addHalves(const std::uint8_t* weights, const std::int8_t* group,
                              std::integer_sequence<int, kVector...>) {
        const Bytes low[] = {hn::And(bytesOf(weights, kVector), hn::Set(ByteTag(), 15))...};
        add(low, group, kSums);
        const Bytes high[] = {hn::And(
            hn::BitCast(ByteTag(),
                        hn::ShiftRight<4>(hn::BitCast(WordTag(), bytesOf(weights, kVector)))),
            hn::Set(ByteTag(), 15))...};
        add(high, group + kBlockColumns / 2 * kStride, kSums);
    }
    HWY_INLINE static Bytes bytesOf(const std::uint8_t* weights, int vector) {
        return hn::LoadU(ByteTag(), weights + vector * kVectorRows * kGroupColumns);
    }
    template <typename Weights, int... kSum>
    HWY_INLINE void add(const Weights* weights, const std::int8_t* group,
                        std::integer_sequence<int, kSum...>) {
        Bytes activations;
        ((activations = kSum % kVectors == 0
                            ? BroadcastGroup(group + kSum / kVectors * kGroupColumns)
                            : activations,
          m_sums[kSum].add(weights[kSum % kVectors], activations)),
         ...);
    }

    std::conditional_t<kFormat == QuantFormat::Q8, SignedSum, NibbleSum> m_sums[kTokens * kVectors];
};

// The products so far of rows [row, row + kPassRows) of a tile with kTokens tokens.
template <QuantFormat kFormat, int kTokens, int kStride>
class PassSums {
public:
    HWY_INLINE void clear() { clear(kSums); }
    HWY_INLINE void addBlock(const std::byte* block, std::int64_t row,
                             const TokenBlocks<kStride>& tokens, std::int64_t index) {
        BlockSums<kFormat, kTokens, kStride> totals;
        totals.sum(
            reinterpret_cast<const std::uint8_t*>(block) + kTileRows * 2 + row * kGroupColumns,
            tokens, index);
        add(block, row, totals, tokens.scales + index * kStride, kSums, kEach);
    }
    // sums [token][vector]
    HWY_INLINE const RowFloats& at(int token, int vector) const {
        return m_sums[token * kVectors + vector];
    }

private:
    static constexpr std::make_integer_sequence<int, kTokens * kVectors> kSums{};
    static constexpr std::make_integer_sequence<int, kVectors> kEach{};

    template <int... kSum>
    HWY_INLINE void clear(std::integer_sequence<int, kSum...>) {
        ((m_sums[kSum] = hn::Zero(RowFloatTag())), ...);
    }
    HWY_INLINE static RowFloats scaleOf(const std::byte* block, std::int64_t row) {
        return kFormat == QuantFormat::Q8 ? LoadHalves(block + row * 2) : LoadUnsigned(block + row);
    }
    template <int... kSum, int... kVector>
    HWY_INLINE void add(const std::byte* block, std::int64_t row,
                        const BlockSums<kFormat, kTokens, kStride>& totals, const float* scales,
                        std::integer_sequence<int, kSum...>,
                        std::integer_sequence<int, kVector...>) {
        const RowFloatTag d;
        const RowFloats rowScales[] = {scaleOf(block, row + kVector * kVectorRows)...};
        ((m_sums[kSum] =
              hn::MulAdd(hn::Mul(rowScales[kSum % kVectors], hn::Set(d, scales[kSum / kVectors])),
                         totals.total(kSum / kVectors, kSum % kVectors), m_sums[kSum])),
         ...);
    }

    RowFloats m_sums[kTokens * kVectors];
};

// What q4's minima add, which have a row factor of their own: [token][vector] as above.
template <int kTokens>
using MinimumSums = RegisterTile<RowFloatTag, kTokens, kVectors>;

template <int kTokens, int kStride>
HWY_INLINE void AddMinima(const std::byte* block, std::int64_t row,
                          const TokenBlocks<kStride>& tokens, std::int64_t index,
                          MinimumSums<kTokens>& sums) {
    const float* scaledSums = tokens.scaledSums + index * kStride;
    sums.add([&](int t) HWY_ATTR { return hn::Set(RowFloatTag(), scaledSums[t]); },
             [&](int v) HWY_ATTR { return LoadSigned(block + kTileRows + row + v * kVectorRows); });
}

// out [token][row] of one tile
template <QuantFormat kFormat, int kTokens, int kStride>
HWY_INLINE void StoreProducts(const PassSums<kFormat, kTokens, kStride>& sums,
                              const MinimumSums<kTokens>& minima, std::int64_t row,
                              const float* factors, float (*out)[kTileRows]) {
    const RowFloatTag d;
    minima.forEach([&](int t, int v, RowFloats minimumSum) HWY_ATTR {
        const std::int64_t first = row + v * kVectorRows;
        RowFloats sum = sums.at(t, v);
        if constexpr (kFormat == QuantFormat::Q4) {
            RowFloats scale, minimum;
            hn::LoadInterleaved2(d, factors + first * 2, scale, minimum);
            sum = hn::MulAdd(scale, sum, hn::Mul(minimum, minimumSum));
        }
        hn::StoreU(sum, d, out[t] + first);
    });
}

// kTiles tiles, a block of each in turn, times kTokens tokens: out[tile][token][row].
template <QuantFormat kFormat, int kTiles, int kTokens, int kStride>
HWY_INLINE void TileProducts(const Tile* tiles, std::int64_t blocks,
                             const TokenBlocks<kStride>& tokens, float (*out)[kTokens][kTileRows]) {
    // With several tokens the registers are full: minima then go through the blocks, which are in the
    // cache, once more.
    constexpr bool kMinimaBeside = kFormat == QuantFormat::Q4 && kTokens == 1;
    constexpr bool kMinimaAfter = kFormat == QuantFormat::Q4 && kTokens != 1;
    for (std::int64_t row = 0; row < kTileRows; row += kPassRows) {
        PassSums<kFormat, kTokens, kStride> sums[kTiles];
        MinimumSums<kTokens> minima[kTiles];
        for (int i = 0; i < kTiles; ++i) {
            sums[i].clear();
            minima[i].clear();
        }
        for (std::int64_t index = 0; index < blocks; ++index)
#pragma GCC unroll 2
            for (int i = 0; i < kTiles; ++i) {
                const std::byte* block = tiles[i].blocks + index * BlockBytes<kFormat>();
                FetchAhead<kFormat, kTokens, kStride>(block, tokens, index);
                sums[i].addBlock(block, row, tokens, index);
                if constexpr (kMinimaBeside)
                    AddMinima<kTokens>(block, row, tokens, index, minima[i]);
            }
        for (int i = 0; i < kTiles; ++i) {
            for (std::int64_t index = 0; kMinimaAfter && index < blocks; ++index)
                AddMinima<kTokens>(tiles[i].blocks + index * BlockBytes<kFormat>(), row, tokens,
                                   index, minima[i]);
            StoreProducts(sums[i], minima[i], row, tiles[i].factors, out[i]);
        }
    }
}

#else  // plain loops, for targets without 8-bit products

constexpr int kTileTokens = 1;
constexpr int kSmallTileTokens = 1;
constexpr int kMatvecTiles = 1;

template <QuantFormat kFormat, int, int, int kStride>
void TileProducts(const Tile* tile, std::int64_t blocks, const TokenBlocks<kStride>& tokens,
                  float (*out)[1][kTileRows]) {
    const float* factors = tile->factors;
    for (std::int64_t row = 0; row < kTileRows; ++row) {
        float sum = 0;
        float minimumSum = 0;
        for (std::int64_t index = 0; index < blocks; ++index) {
            const std::byte* block = tile->blocks + index * BlockBytes<kFormat>();
            const std::byte* weights = block + kTileRows * 2 + row * kGroupColumns;
            const std::int8_t* values = tokens.groups + index * kBlockColumns;
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
                sum += halfToFloat(half) * tokens.scales[index] * static_cast<float>(total);
            } else {
                sum += static_cast<float>(std::to_integer<int>(block[row])) * tokens.scales[index] *
                       static_cast<float>(total);
                minimumSum += static_cast<float>(static_cast<std::int8_t>(block[kTileRows + row])) *
                              tokens.scaledSums[index];
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
