// Quantised tiles times rounded activations, in the registers of each instruction set that has 8-bit products.
// Included once a target.
#if defined(QLLAMA_CPU_TILE_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_TILE_PRODUCTS_INL_H
#undef QLLAMA_CPU_TILE_PRODUCTS_INL_H
#else
#define QLLAMA_CPU_TILE_PRODUCTS_INL_H
#endif

#include <type_traits>
#include <utility>

#include "engine/backend/cpu/kernels/int8-inl.h"
#include "engine/backend/cpu/kernels/tile_operands-inl.h"

#if QLLAMA_HAVE_INT8
HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3_DL
#pragma GCC target("avx512vnni")  // the target has it, Highway's list of flags for it does not
#endif
namespace qllama::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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
constexpr int kSmallTileTokens = 4;

// More than one token alone goes through side by side on any processor (weight_streams.h).
constexpr int kMostMatvecTiles = 3;

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

// A few tokens only stream through the weights, one in the streams of weight_streams.h, others in a single one.
// For more, weights and activations come from the second cache, a block ahead being enough. (The addresses may be
// beyond both: fetching ahead never faults.)
template <BlockFormat kFormat, int kTokens, int kTiles, int kStride>
HWY_INLINE void FetchAhead(const TileBlocks<kTiles>& blocks, const TokenBlocks<kStride>& tokens,
                           std::int64_t index) {
    constexpr cpu::FetchDistances kSingleStream{3072, 1024};
    constexpr std::int64_t kBytes = BlockBytes<kFormat>();
    for (const std::byte* block : blocks.at) {
        if constexpr (kTokens == 1)
            FetchStream<kBytes>(block, cpu::weightStreams.tiles);
        else if constexpr (kTokens < kTileTokens)
            FetchStream<kBytes>(block, kSingleStream);
        else
            FetchLines<kBytes>(block + kBytes);
    }
    if constexpr (kTokens != 1)
        FetchLines<kBlockColumns * kStride>(tokens.groups + (index + 1) * kBlockColumns * kStride);
}

// The exact integer sums of a block for kTokens tokens, counted through at compile time alone: else this
// compiler keeps them in memory.
template <BlockFormat kFormat, int kTiles, int kTokens, int kStride>
class BlockSums {
public:
    HWY_INLINE void sum(const TileBlocks<kTiles>& blocks, const TokenBlocks<kStride>& tokens,
                        std::int64_t index) {
        start((kFormat == BlockFormat::Q8 ? tokens.starts : tokens.nibbleStarts) + index * kStride,
              kSums);
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
    [[nodiscard]] HWY_INLINE const auto& of(int sum) const {
        return m_sums[sum];
    }

private:
    static constexpr int kVectors = kTiles * kTileVectors;
    static constexpr int kStoredGroups = kFormat == BlockFormat::Q8 ? kGroups : kGroups / 2;
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
        if constexpr (kFormat == BlockFormat::Q8) {
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

    std::conditional_t<kFormat == BlockFormat::Q8, SignedSum, NibbleSum> m_sums[kTokens * kVectors];
};

// How a pair's sum grows: by the sums of each block times the weights' scales, and with q4 by the middles.
template <BlockFormat kFormat>
struct PairRules;

template <>
struct PairRules<BlockFormat::Q8> {
    using Tag = RowFloatTag;
    struct Middles {};
    static HWY_INLINE RowFloats loadScales(const std::byte* block, std::int64_t row) {
        return LoadHalves(block + row * 2);
    }
    static HWY_INLINE Middles loadMiddles(const std::byte*, const std::byte*, std::int64_t) {
        return {};
    }
    static HWY_INLINE RowFloats first(RowFloats scales, const SignedSum& sum) {
        return hn::Mul(scales, hn::ConvertTo(RowFloatTag(), sum.total()));
    }
    static HWY_INLINE RowFloats second(RowFloats scales, const SignedSum& sum, RowFloats before) {
        return hn::MulAdd(scales, hn::ConvertTo(RowFloatTag(), sum.total()), before);
    }
    static HWY_INLINE RowFloats whole(RowFloats sum, Middles, const std::int32_t*) { return sum; }
};

template <>
struct PairRules<BlockFormat::Q4> {
    using Tag = IntTag;
    using Middles = Ints;
    static HWY_INLINE Ints loadScales(const std::byte* block, std::int64_t row) {
        return LoadScaleSteps(block + row);
    }
    static HWY_INLINE Ints loadMiddles(const std::byte* first, const std::byte* second,
                                       std::int64_t row) {
        return LoadMiddlePairs(first + kTileRows + row, second + kTileRows + row);
    }
    static HWY_INLINE Ints first(Ints scales, const NibbleSum& sum) { return sum.scaled(scales); }
    static HWY_INLINE Ints second(Ints scales, const NibbleSum& sum, Ints before) {
        return sum.addScaled(scales, before);
    }
    static HWY_INLINE RowFloats whole(Ints sum, Ints middles, const std::int32_t* pairSum) {
        return hn::ConvertTo(RowFloatTag(),
                             AddPairProducts(middles, hn::Set(IntTag(), *pairSum), sum));
    }
};

// The products so far of kPassRows rows of each tile with kTokens tokens.
template <BlockFormat kFormat, int kTiles, int kTokens, int kStride>
class PassSums {
public:
    HWY_INLINE void clear() { clear(kSums); }
    // A block: the first or the last of a pair, or both where it is alone.
    template <bool kIsFirst, bool kIsLast>
    HWY_INLINE void addBlock(const TileBlocks<kTiles>& blocks, const TokenBlocks<kStride>& tokens,
                             std::int64_t index) {
        Sums sums;
        sums.sum(blocks, tokens, index);
        if constexpr (kIsLast)
            addPair<kIsFirst>(blocks, sums, tokens, index / 2, kSums, kEach);
        else
            keep(blocks, sums, kSums, kEach);
    }
    HWY_INLINE RowFloats at(int token, int vector) const {
        return hn::Load(RowFloatTag(), m_sums[token * kVectors + vector]);
    }

private:
    static constexpr int kVectors = kTiles * kTileVectors;
    static constexpr std::make_integer_sequence<int, kTokens * kVectors> kSums{};
    static constexpr std::make_integer_sequence<int, kVectors> kEach{};
    using Sums = BlockSums<kFormat, kTiles, kTokens, kStride>;
    using Rules = PairRules<kFormat>;
    using PairTag = typename Rules::Tag;
    using Pair = hn::Vec<PairTag>;

    template <int... kSum>
    HWY_INLINE void clear(std::integer_sequence<int, kSum...>) {
        (hn::Store(hn::Zero(RowFloatTag()), RowFloatTag(), m_sums[kSum]), ...);
    }
    template <int... kSum, int... kVector>
    HWY_INLINE void keep(const TileBlocks<kTiles>& blocks, const Sums& sums,
                         std::integer_sequence<int, kSum...>,
                         std::integer_sequence<int, kVector...>) {
        const Pair scales[] = {Rules::loadScales(blocks.of(kVector), blocks.rowOf(kVector))...};
        (hn::Store(Rules::first(scales[kSum % kVectors], sums.of(kSum)), PairTag(), m_pairs[kSum]),
         ...);
    }
    template <bool kIsFirst, int... kSum, int... kVector>
    HWY_INLINE void addPair(const TileBlocks<kTiles>& blocks, const Sums& sums,
                            const TokenBlocks<kStride>& tokens, std::int64_t index,
                            std::integer_sequence<int, kSum...>,
                            std::integer_sequence<int, kVector...>) {
        // Alone, a block stands for a second one too, whose activations add up to nothing.
        constexpr std::int64_t kBack = kIsFirst ? 0 : BlockBytes<kFormat>();
        const Pair scales[] = {Rules::loadScales(blocks.of(kVector), blocks.rowOf(kVector))...};
        const typename Rules::Middles middles[] = {Rules::loadMiddles(
            blocks.of(kVector) - kBack, blocks.of(kVector), blocks.rowOf(kVector))...};
        const float* factors = tokens.scales + index * kStride;
        const std::int32_t* pairSums = tokens.pairSums + index * kStride;
        (addProduct<kSum>(Rules::whole(pairOf<kIsFirst, kSum>(scales[kSum % kVectors], sums),
                                       middles[kSum % kVectors], pairSums + kSum / kVectors),
                          factors[kSum / kVectors]),
         ...);
    }
    template <bool kIsFirst, int kSum>
    HWY_INLINE Pair pairOf(Pair scales, const Sums& sums) const {
        if constexpr (kIsFirst)
            return Rules::first(scales, sums.of(kSum));
        else
            return Rules::second(scales, sums.of(kSum), hn::Load(PairTag(), m_pairs[kSum]));
    }
    template <int kSum>
    HWY_INLINE void addProduct(RowFloats pair, float factor) {
        const RowFloatTag d;
        hn::Store(hn::MulAdd(hn::Set(d, factor), pair, hn::Load(d, m_sums[kSum])), d, m_sums[kSum]);
    }

    HWY_ALIGN float m_sums[kTokens * kVectors][kVectorRows];
    HWY_ALIGN hn::TFromD<PairTag> m_pairs[kTokens * kVectors]
                                         [kVectorRows];  // the first blocks' part
};

// out [tile][token][row]
template <BlockFormat kFormat, int kTiles, int kTokens, int kStride>
HWY_INLINE void StoreProducts(const PassSums<kFormat, kTiles, kTokens, kStride>& sums,
                              std::int64_t row, const Tile* tiles,
                              float (*out)[kTokens][kTileRows]) {
    const RowFloatTag d;
    for (int v = 0; v < kTiles * kTileVectors; ++v) {
        const int tile = v / kTileVectors;
        const std::int64_t first = row + v % kTileVectors * kVectorRows;
        for (int t = 0; t < kTokens; ++t) {
            RowFloats sum = sums.at(t, v);
            if constexpr (kFormat == BlockFormat::Q4)
                sum = hn::Mul(sum, hn::LoadU(d, tiles[tile].factors + first));
            hn::StoreU(sum, d, out[tile][t] + first);
        }
    }
}

template <BlockFormat kFormat, int kTiles>
HWY_INLINE TileBlocks<kTiles> BlocksAt(const Tile* tiles, std::int64_t index, std::int64_t row) {
    TileBlocks<kTiles> blocks{{}, row};
    for (int i = 0; i < kTiles; ++i)
        blocks.at[i] = tiles[i].blocks + index * BlockBytes<kFormat>();
    return blocks;
}

// (Not a lambda: this compiler keeps in memory what one captures.)
template <bool kIsFirst, bool kIsLast, BlockFormat kFormat, int kTiles, int kTokens, int kStride>
HWY_INLINE void AddBlock(const Tile* tiles, std::int64_t index, std::int64_t row,
                         const TokenBlocks<kStride>& tokens,
                         PassSums<kFormat, kTiles, kTokens, kStride>& sums) {
    const auto blocks = BlocksAt<kFormat, kTiles>(tiles, index, row);
    FetchAhead<kFormat, kTokens>(blocks, tokens, index);
    sums.template addBlock<kIsFirst, kIsLast>(blocks, tokens, index);
}

// kTiles tiles times kTokens tokens: out[tile][token][row].
template <BlockFormat kFormat, int kTiles, int kTokens, int kStride>
HWY_INLINE void TileProducts(const Tile* tiles, std::int64_t blocks,
                             const TokenBlocks<kStride>& tokens, float (*out)[kTokens][kTileRows]) {
    for (std::int64_t row = 0; row < kTileRows; row += kPassRows) {
        PassSums<kFormat, kTiles, kTokens, kStride> sums;
        sums.clear();
        std::int64_t index = 0;
        for (; index + 2 <= blocks; index += 2) {
            AddBlock<true, false>(tiles, index, row, tokens, sums);
            AddBlock<false, true>(tiles, index + 1, row, tokens, sums);
        }
        if (index < blocks) AddBlock<true, true>(tiles, index, row, tokens, sums);
        StoreProducts(sums, row, tiles, out);
    }
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // QLLAMA_HAVE_INT8

#endif
