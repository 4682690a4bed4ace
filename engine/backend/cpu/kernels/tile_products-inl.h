// Quantised tiles times rounded activations, in the registers of each instruction set. Included once a
// target.
#if defined(QLLAMA_CPU_TILE_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_TILE_PRODUCTS_INL_H
#undef QLLAMA_CPU_TILE_PRODUCTS_INL_H
#else
#define QLLAMA_CPU_TILE_PRODUCTS_INL_H
#endif

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

// Rows of a tile that one vector of 32-bit sums covers: 16, 8 or 4; and how many such vectors of a tile are
// summed at a time.
constexpr std::int64_t kVectorRows = static_cast<std::int64_t>(hn::MaxLanes(IntTag()));
constexpr int kTileVectors = kVectorRows == kTileRows ? 1 : 2;
constexpr std::int64_t kPassRows = kTileVectors * kVectorRows;
constexpr int kGroups = kBlockColumns / kGroupColumns;

// Tiles and tokens that share a block's weights and activations while those are in registers, and the
// tokens of the tiles that take what is left. Two vectors by four tokens are 8 sums of integers, which
// fit 16 registers, and two by twelve fit the 32 of AVX-512, which can do only two loads of its vectors a
// cycle, as many as products.
constexpr int kTilesTogether = kTileVectors == 1 ? 2 : 1;
constexpr int kTileTokens = kTileVectors == 1 ? 12 : 4;
constexpr int kSmallTileTokens = kTileVectors == 1 ? 4 : 1;

// Tiles that one token alone goes through side by side, each in its own part of the portion: two
// streams from memory are faster than one (by 11 % at q8, 4 % at q4), and more do not help. Taking
// turns after 2, 4 or 8 blocks instead of each is slower.
constexpr int kMatvecTiles = 2;

// A block of each of the tiles that are summed together; vector v covers rows of tile v / kTileVectors.
template <int kTiles>
struct TileBlocks {
    const std::byte* at[kTiles];
    std::int64_t row;  // of the first vector of each

    [[nodiscard]] HWY_INLINE std::int64_t rowOf(int vector) const {
        return row + vector % kTileVectors * kVectorRows;
    }
    [[nodiscard]] HWY_INLINE const std::byte* of(int vector) const {
        return at[vector / kTileVectors];
    }
    [[nodiscard]] HWY_INLINE Bytes weights(int vector, int group) const {
        const std::byte* first = of(vector) + kTileRows * 2 + group * kGroupBytes;
        return hn::LoadU(ByteTag(), reinterpret_cast<const std::uint8_t*>(first) +
                                        rowOf(vector) * kGroupColumns);
    }
};

// One token only streams through the weights: as far ahead as keeps memory busy, first into the second
// cache, which has room for more lines on their way. (1 KiB ahead alone is 9 % slower at q4.) For several
// tokens, weights and activations come from there, a block ahead being enough. (The addresses may be
// beyond both: fetching ahead never faults.)
template <QuantFormat kFormat, int kTokens, int kTiles, int kStride>
HWY_INLINE void FetchAhead(const TileBlocks<kTiles>& blocks, const TokenBlocks<kStride>& tokens,
                           std::int64_t index) {
    constexpr std::int64_t kFar = 3072;
    constexpr std::int64_t kNear = 1024;
    constexpr std::int64_t kBytes = BlockBytes<kFormat>();
    for (const std::byte* block : blocks.at) {
        if constexpr (kTokens == 1) FetchLinesToL2<kBytes>(block + kFar);
        FetchLines<kBytes>(block + (kTokens == 1 ? kNear : kBytes));
    }
    if constexpr (kTokens != 1)
        FetchLines<kBlockColumns * kStride>(tokens.groups + (index + 1) * kBlockColumns * kStride);
}

// The exact integer sums of a block for kTokens tokens, counted through at compile time alone: else this
// compiler keeps them in memory.
template <QuantFormat kFormat, int kTiles, int kTokens, int kStride>
class BlockSums {
public:
    HWY_INLINE void sum(const TileBlocks<kTiles>& blocks, const TokenBlocks<kStride>& tokens,
                        std::int64_t index) {
        start(tokens.starts + index * kStride, kSums);
        const std::int8_t* groups = tokens.groups + index * kBlockColumns * kStride;
        // Written out for one token, where the loop would be a good part of the work, but as a loop for
        // several, which fill the registers.
        if constexpr (kTokens == 1) {
            addEach(blocks, groups, std::make_integer_sequence<int, kStoredGroups>());
        } else {
#pragma GCC unroll 1
            for (int group = 0; group < kStoredGroups; ++group)
                addStored(blocks, groups, group);
        }
    }
    HWY_INLINE RowFloats total(int sum) const {
        return hn::ConvertTo(RowFloatTag(), m_sums[sum].total());
    }

private:
    static constexpr int kVectors = kTiles * kTileVectors;
    static constexpr int kStoredGroups = kFormat == QuantFormat::Q8 ? kGroups : kGroups / 2;
    static constexpr std::make_integer_sequence<int, kTokens * kVectors> kSums{};
    static constexpr std::make_integer_sequence<int, kVectors> kEach{};

    template <int... kSum>
    HWY_INLINE void start(const std::int32_t* starts, std::integer_sequence<int, kSum...>) {
        (m_sums[kSum].start(starts + kSum / kVectors), ...);
    }

    template <int... kGroup>
    HWY_INLINE void addEach(const TileBlocks<kTiles>& blocks, const std::int8_t* groups,
                            std::integer_sequence<int, kGroup...>) {
        (addStored(blocks, groups, kGroup), ...);
    }
    HWY_INLINE void addStored(const TileBlocks<kTiles>& blocks, const std::int8_t* groups,
                              int index) {
        const std::int8_t* group = groups + index * kGroupColumns * kStride;
        if constexpr (kFormat == QuantFormat::Q8) {
            addSigned(blocks, index, group, kEach);
        } else {
            addHalves(blocks, index, group, kEach);
        }
    }
    template <int... kVector>
    HWY_INLINE void addSigned(const TileBlocks<kTiles>& blocks, int index, const std::int8_t* group,
                              std::integer_sequence<int, kVector...>) {
        const SignedWeights each[] = {PrepareSigned(blocks.weights(kVector, index))...};
        add(each, group, kSums);
    }
    template <int... kVector>
    HWY_INLINE void addHalves(const TileBlocks<kTiles>& blocks, int index, const std::int8_t* group,
                              std::integer_sequence<int, kVector...>) {
        Bytes both[] = {blocks.weights(kVector, index)...};
        // Loaded once: each load of the wide vectors crosses a line of the cache.
        (Settle(both[kVector]), ...);
        const Bytes low[] = {LowHalves(both[kVector])...};
        add(low, group, kSums);
        const Bytes high[] = {HighHalves(both[kVector])...};
        add(high, group + kBlockColumns / 2 * kStride, kSums);
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

// The products so far of kPassRows rows of each tile with kTokens tokens.
template <QuantFormat kFormat, int kTiles, int kTokens, int kStride>
class PassSums {
public:
    HWY_INLINE void clear() { clear(kSums); }
    HWY_INLINE void addBlock(const TileBlocks<kTiles>& blocks, const TokenBlocks<kStride>& tokens,
                             std::int64_t index) {
        BlockSums<kFormat, kTiles, kTokens, kStride> totals;
        totals.sum(blocks, tokens, index);
        add(blocks, totals, tokens.scales + index * kStride, kSums, kEach);
    }
    HWY_INLINE RowFloats at(int token, int vector) const {
        return hn::Load(RowFloatTag(), m_sums[token * kVectors + vector]);
    }

private:
    static constexpr int kVectors = kTiles * kTileVectors;
    static constexpr std::make_integer_sequence<int, kTokens * kVectors> kSums{};
    static constexpr std::make_integer_sequence<int, kVectors> kEach{};

    template <int... kSum>
    HWY_INLINE void clear(std::integer_sequence<int, kSum...>) {
        (hn::Store(hn::Zero(RowFloatTag()), RowFloatTag(), m_sums[kSum]), ...);
    }
    HWY_INLINE static RowFloats scaleOf(const TileBlocks<kTiles>& blocks, int vector) {
        const std::byte* block = blocks.of(vector);
        const std::int64_t row = blocks.rowOf(vector);
        return kFormat == QuantFormat::Q8 ? LoadHalves(block + row * 2) : LoadUnsigned(block + row);
    }
    template <int... kSum, int... kVector>
    HWY_INLINE void add(const TileBlocks<kTiles>& blocks,
                        const BlockSums<kFormat, kTiles, kTokens, kStride>& totals,
                        const float* scales, std::integer_sequence<int, kSum...>,
                        std::integer_sequence<int, kVector...>) {
        const RowFloatTag d;
        const RowFloats rowScales[] = {scaleOf(blocks, kVector)...};
        (hn::Store(
             hn::MulAdd(hn::Mul(rowScales[kSum % kVectors], hn::Set(d, scales[kSum / kVectors])),
                        totals.total(kSum), hn::Load(d, m_sums[kSum])),
             d, m_sums[kSum]),
         ...);
    }

    HWY_ALIGN float m_sums[kTokens * kVectors][kVectorRows];
};

// What q4's minima add, which have a row factor of their own: [vector][token].
template <int kTiles, int kTokens>
using MinimumSums = RegisterTile<RowFloatTag, kTiles * kTileVectors, kTokens>;

template <int kTiles, int kTokens, int kStride>
HWY_INLINE void AddMinima(const TileBlocks<kTiles>& blocks, const TokenBlocks<kStride>& tokens,
                          std::int64_t index, MinimumSums<kTiles, kTokens>& sums) {
    const float* scaledSums = tokens.scaledSums + index * kStride;
    sums.add([&](int v) HWY_ATTR { return LoadSigned(blocks.of(v) + kTileRows + blocks.rowOf(v)); },
             [&](int t) HWY_ATTR { return hn::Set(RowFloatTag(), scaledSums[t]); });
}

// out [tile][token][row]
template <QuantFormat kFormat, int kTiles, int kTokens, int kStride>
HWY_INLINE void StoreProducts(const PassSums<kFormat, kTiles, kTokens, kStride>& sums,
                              const MinimumSums<kTiles, kTokens>& minima, std::int64_t row,
                              const Tile* tiles, float (*out)[kTokens][kTileRows]) {
    const RowFloatTag d;
    minima.forEach([&](int v, int t, RowFloats minimumSum) HWY_ATTR {
        const int tile = v / kTileVectors;
        const std::int64_t first = row + v % kTileVectors * kVectorRows;
        RowFloats sum = sums.at(t, v);
        if constexpr (kFormat == QuantFormat::Q4) {
            RowFloats scale, minimum;
            hn::LoadInterleaved2(d, tiles[tile].factors + first * 2, scale, minimum);
            sum = hn::MulAdd(scale, sum, hn::Mul(minimum, minimumSum));
        }
        hn::StoreU(sum, d, out[tile][t] + first);
    });
}

// kTiles tiles times kTokens tokens: out[tile][token][row].
template <QuantFormat kFormat, int kTiles, int kTokens, int kStride>
HWY_INLINE void TileProducts(const Tile* tiles, std::int64_t blocks,
                             const TokenBlocks<kStride>& tokens, float (*out)[kTokens][kTileRows]) {
    // With several tokens the registers are full: minima then go through the blocks, which are in the
    // cache, once more.
    constexpr bool kMinimaBeside = kFormat == QuantFormat::Q4 && kTokens == 1;
    constexpr bool kMinimaAfter = kFormat == QuantFormat::Q4 && kTokens != 1;
    const auto blocksAt = [&](std::int64_t index, std::int64_t row) HWY_ATTR {
        TileBlocks<kTiles> at{{}, row};
        for (int i = 0; i < kTiles; ++i)
            at.at[i] = tiles[i].blocks + index * BlockBytes<kFormat>();
        return at;
    };
    for (std::int64_t row = 0; row < kTileRows; row += kPassRows) {
        PassSums<kFormat, kTiles, kTokens, kStride> sums;
        MinimumSums<kTiles, kTokens> minima;
        sums.clear();
        minima.clear();
        for (std::int64_t index = 0; index < blocks; ++index) {
            const TileBlocks<kTiles> here = blocksAt(index, row);
            FetchAhead<kFormat, kTokens>(here, tokens, index);
            sums.addBlock(here, tokens, index);
            if constexpr (kMinimaBeside) AddMinima<kTiles, kTokens>(here, tokens, index, minima);
        }
        for (std::int64_t index = 0; kMinimaAfter && index < blocks; ++index)
            AddMinima<kTiles, kTokens>(blocksAt(index, row), tokens, index, minima);
        StoreProducts(sums, minima, row, tiles, out);
    }
}

#else  // plain loops, for targets without 8-bit products

constexpr int kTilesTogether = 1;
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
