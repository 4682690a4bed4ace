#include "engine/backend/cpu/kernels/packed_kernels.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "engine/tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/packed_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/fold_lanes-inl.h"
#include "engine/backend/cpu/kernels/for_count-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

constexpr std::size_t kLaneCount = hn::MaxLanes(F32Tag());
constexpr std::size_t kBlock = kBlockColumns;
constexpr std::size_t kBlockBytes = kPackedBlockBytes;

// Rows are read side by side as row_kernels.cpp does for one token, and for the same reasons; with so many
// tokens their sums fill the registers.
constexpr int kRowsTogether = 4;
constexpr int kMostTokens = kHasAvx512 ? 6 : 3;

// So many blocks are whole cache lines; each is fetched once.
constexpr std::size_t kTurnBlocks = 4;
constexpr int kTurnLines = kTurnBlocks * kPackedBlockBytes / kLineBytes;
static_assert(kTurnLines * kLineBytes == kTurnBlocks * kPackedBlockBytes);

// A field whose sign is the highest bit becomes a bf16, or with zeros behind it a float: its sign, its exponent,
// of which the upper four bits are those of 2^-15 to 2^0, its mantissa.
constexpr std::uint16_t kFieldBits = 0x87FF;
constexpr std::uint16_t kExponentBits = 112 << 7;

// A vector is read whole, of which a row's last fields are a part: behind those of the last row are the factors.
constexpr std::int64_t kReadBehind = 8;
static_assert(kReadBehind <= kTileRows * std::int64_t{sizeof(float)});

// Neighbouring weights, divided by their factor.
struct TwoVectors {
    F32Vector first;
    F32Vector second;
};
constexpr std::size_t kTwo = 2 * kLaneCount;

#if HWY_TARGET <= HWY_AVX3
// Each lane takes the two words of 16 bits that its field lies in.
HWY_INLINE F32Vector UnpackLanes(const std::byte* at) {
    alignas(64) static constexpr std::uint16_t kWords[32] = {0, 1, 0, 1,  1, 2,  2,  3,  3,  4, 3,
                                                             4, 4, 5, 5,  6, 6,  7,  6,  7,  7, 8,
                                                             8, 9, 9, 10, 9, 10, 10, 11, 11, 12};
    alignas(64) static constexpr std::uint32_t kShifts[16] = {20, 8, 12, 16, 20, 8, 12, 16,
                                                              20, 8, 12, 16, 20, 8, 12, 16};
    const __m512i bytes =
        _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    const __m512i words = _mm512_permutexvar_epi16(_mm512_load_si512(kWords), bytes);
    const __m512i fields =
        _mm512_srai_epi32(_mm512_sllv_epi32(words, _mm512_load_si512(kShifts)), 4);
    constexpr int kAndOr = 0xEA;  // (a & b) | c
    return F32Vector{_mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        fields, _mm512_set1_epi32(static_cast<int>(std::uint32_t{kFieldBits} << 16)),
        _mm512_set1_epi32(kExponentBits << 16), kAndOr))};
}

HWY_INLINE TwoVectors Unpack(const std::byte* row, std::size_t column) {
    const std::byte* at = row + column * kPackedBits / 8;
    return {UnpackLanes(at), UnpackLanes(at + kLaneCount * kPackedBits / 8)};
}
#elif HWY_TARGET == HWY_SCALAR
HWY_INLINE TwoVectors Unpack(const std::byte* row, std::size_t column) {
    std::uint32_t two = 0;
    std::memcpy(&two, row + column * kPackedBits / 8, 3);
    const auto unpacked = [](std::uint32_t field) HWY_ATTR {
        const auto raised = static_cast<std::int16_t>(field << 4);
        const auto bits = static_cast<std::uint16_t>((raised >> 4 & kFieldBits) | kExponentBits);
        return hn::Set(F32Tag(), bfloat16ToFloat(bits));
    };
    return {unpacked(two), unpacked(two >> kPackedBits)};
}
#else
// Eight weights in 128 bits, 12 bytes of which their fields lie in: each word of 16 bits takes the two bytes of
// its field. The upper words of pairs are the first four weights, the lower ones the others.
HWY_INLINE TwoVectors Unpack(const std::byte* row, std::size_t column) {
    const hn::Repartition<std::uint8_t, F32Tag> bytes;
    const hn::Repartition<std::uint16_t, F32Tag> words;
    const hn::Repartition<std::int16_t, F32Tag> numbers;
    const hn::RebindToUnsigned<F32Tag> pairs;
    const hn::Full128<std::uint8_t> eight;
    alignas(32) static constexpr std::uint8_t kBytes[32] = {6, 7,  0,  1,  7, 8, 1,  2,  9, 10, 3,
                                                            4, 10, 11, 4,  5, 6, 7,  0,  1, 7,  8,
                                                            1, 2,  9,  10, 3, 4, 10, 11, 4, 5};
    // Of two neighbouring fields one lies four bits lower in its bytes.
    alignas(32) static constexpr std::uint16_t kRaise[16] = {16, 16, 1, 1, 16, 16, 1, 1,
                                                             16, 16, 1, 1, 16, 16, 1, 1};
    const auto* at = reinterpret_cast<const std::uint8_t*>(row + column * kPackedBits / 8);
#if HWY_TARGET == HWY_AVX2
    const auto packed = hn::Combine(bytes, hn::LoadU(eight, at + 12), hn::LoadU(eight, at));
#else
    const auto packed = hn::LoadU(eight, at);
#endif
    const auto fields =
        hn::Mul(hn::BitCast(words, hn::TableLookupBytes(packed, hn::Load(bytes, kBytes))),
                hn::Load(words, kRaise));
    const auto bits =
        hn::Or(hn::And(hn::BitCast(words, hn::ShiftRight<4>(hn::BitCast(numbers, fields))),
                       hn::Set(words, kFieldBits)),
               hn::Set(words, kExponentBits));
    const F32Tag d;
    const auto both = hn::BitCast(pairs, bits);
    const F32Vector upper = hn::BitCast(d, hn::And(both, hn::Set(pairs, 0xFFFF0000U)));
    const F32Vector lower = hn::BitCast(d, hn::ShiftLeft<16>(both));
#if HWY_TARGET == HWY_AVX2
    return {hn::ConcatLowerLower(d, lower, upper), hn::ConcatUpperUpper(d, lower, upper)};
#else
    return {upper, lower};
#endif
}
#endif

// A row, whose weights divided by its factor are within 2^-15 and 2^1 but for the exceptions.
struct RowReader {
    RowReader(const BlockMatrix& weights, std::int64_t row)
        : fields(weights.tiles + row * weights.blocksPerRow() * kPackedBlockBytes),
          factor(weights.rowFactors[row]) {
        const auto exceptions = weights.exceptionsOf(row);
        next = exceptions.data();
        end = next + exceptions.size();
    }

    // That the next exception is in; past all blocks if there is none.
    [[nodiscard]] HWY_INLINE std::size_t blockOfNext() const {
        return next == end ? ~std::size_t{0} : next->column / kBlock;
    }

    // A block divided by the factor, with its exceptions.
    HWY_INLINE void unpackBlock(std::size_t block, float* HWY_RESTRICT out) {
        const F32Tag d;
        for (std::size_t k = 0; k < kBlock; k += kTwo) {
            const TwoVectors weights = Unpack(fields, block * kBlock + k);
            hn::Store(weights.first, d, out + k);
            hn::Store(weights.second, d, out + k + kLaneCount);
        }
        for (; next != end && next->column / kBlock == block; ++next)
            out[next->column % kBlock] = bfloat16ToFloat(next->bits) / factor;
    }

    const std::byte* fields;
    float factor;
    const PackedException* next;
    const PackedException* end;
};

// n rows of activations.
struct Tokens {
    [[nodiscard]] HWY_INLINE Tokens from(std::size_t column) const { return {x + column, stride}; }
    const float* HWY_RESTRICT x;
    std::size_t stride;
};

// Sums [row][token] are counted through at compile time alone: else this compiler keeps them in memory.
template <int kCount>
using Indexes = std::make_integer_sequence<int, kCount>;
using BlockSteps = Indexes<static_cast<int>(kBlock / kTwo)>;

template <int... kToken>
HWY_INLINE void AddLanes(F32Vector weights, const Tokens& tokens, F32Vector* sums,
                         std::integer_sequence<int, kToken...>) {
    ((sums[kToken] = hn::MulAdd(weights, hn::LoadU(F32Tag(), tokens.x + kToken * tokens.stride),
                                sums[kToken])),
     ...);
}

template <int kTokens>
HWY_INLINE void AddTwo(const TwoVectors& weights, const Tokens& tokens, F32Vector* sums) {
    AddLanes(weights.first, tokens, sums, Indexes<kTokens>());
    AddLanes(weights.second, tokens.from(kLaneCount), sums, Indexes<kTokens>());
}

template <int kTokens, int... kStep>
HWY_INLINE void AddBlock(const std::byte* fields, const Tokens& tokens, F32Vector* sums,
                         std::integer_sequence<int, kStep...>) {
    (AddTwo<kTokens>(Unpack(fields, kStep * kTwo), tokens.from(kStep * kTwo), sums), ...);
}

template <int kTokens, int... kRow>
HWY_INLINE void AddBlocks(const RowReader* rows, std::size_t block, const Tokens& tokens,
                          F32Vector* sums, std::integer_sequence<int, kRow...>) {
    (AddBlock<kTokens>(rows[kRow].fields + block * kBlockBytes, tokens.from(block * kBlock),
                       sums + kRow * kTokens, BlockSteps()),
     ...);
}

// Block kInTurn of a turn that begins at `fields`, and what is to be fetched of a later one.
template <int kTokens, int kInTurn>
HWY_INLINE void AddBlockOfTurn(const std::byte* fields, const Tokens& tokens, F32Vector* sums) {
    if constexpr (kInTurn < kTurnLines) {
        FetchLinesToL2<kLineBytes>(fields + kFarBytes + kInTurn * kLineBytes);
        FetchLines<kLineBytes>(fields + kNearBytes + kInTurn * kLineBytes);
    }
    asm volatile("");  // else the compiler moves all that is fetched to the beginning of the turn
    AddBlock<kTokens>(fields + kInTurn * kPackedBlockBytes, tokens.from(kInTurn * kBlock), sums,
                      BlockSteps());
}

template <int kTokens, int kInTurn, int... kRow>
HWY_INLINE void AddBlocksOfTurn(const RowReader* rows, std::size_t offset, const Tokens& tokens,
                                F32Vector* sums, std::integer_sequence<int, kRow...>) {
    (AddBlockOfTurn<kTokens, kInTurn>(rows[kRow].fields + offset, tokens, sums + kRow * kTokens),
     ...);
}

template <int kTokens, int... kInTurn, typename Rows>
HWY_INLINE void AddTurn(const RowReader* rows, std::size_t block, const Tokens& tokens,
                        F32Vector* sums, std::integer_sequence<int, kInTurn...>, Rows all) {
    (AddBlocksOfTurn<kTokens, kInTurn>(rows, block * kBlockBytes, tokens.from(block * kBlock), sums,
                                       all),
     ...);
}

// A block that has exceptions, or is not whole: `columns` of it are there.
template <int kTokens>
HWY_INLINE void AddOddBlock(RowReader& row, std::size_t block, std::size_t columns,
                            const Tokens& tokens, F32Vector* sums) {
    const F32Tag d;
    HWY_ALIGN float weights[kBlock];
    row.unpackBlock(block, weights);
    for (std::size_t k = 0; k < columns; k += kLaneCount)
        AddLanes(hn::Load(d, weights + k), tokens.from(k), sums, Indexes<kTokens>());
}

template <int kTokens, int... kRow>
HWY_INLINE void AddOddBlocks(RowReader* rows, std::size_t block, std::size_t columns,
                             const Tokens& tokens, F32Vector* sums,
                             std::integer_sequence<int, kRow...>) {
    HWY_ALIGN float padded[kTokens * kBlock] = {};
    for (int t = 0; t < kTokens; ++t)
        std::memcpy(padded + t * kBlock, tokens.x + t * tokens.stride + block * kBlock,
                    columns * sizeof(float));
    (AddOddBlock<kTokens>(rows[kRow], block, columns, {padded, kBlock}, sums + kRow * kTokens),
     ...);
}

// out [kRows][kTokens]
template <int kRows, int kTokens>
HWY_INLINE void DotRows(RowReader* rows, const Tokens& tokens, std::size_t columns,
                        float* HWY_RESTRICT out) {
    F32Vector sums[kRows * kTokens];
    for (F32Vector& sum : sums)
        sum = hn::Zero(F32Tag());
    constexpr Indexes<kRows> kAll;
    const std::size_t whole = columns / kBlock;
    for (std::size_t block = 0;;) {
        std::size_t until = whole;
        for (int r = 0; r < kRows; ++r)
            until = std::min(until, rows[r].blockOfNext());
        while (block < until) {
            if (block % kTurnBlocks == 0 && block + kTurnBlocks <= until) {
                AddTurn<kTokens>(rows, block, tokens, sums, Indexes<kTurnBlocks>(), kAll);
                block += kTurnBlocks;
            } else {
                AddBlocks<kTokens>(rows, block++, tokens, sums, kAll);
            }
        }
        if (block == whole) break;
        AddOddBlocks<kTokens>(rows, block++, kBlock, tokens, sums, kAll);
    }
    if (columns % kBlock != 0)
        AddOddBlocks<kTokens>(rows, whole, columns % kBlock, tokens, sums, kAll);
    FoldLanes<LaneSum, kRows * kTokens>(F32Tag(), sums, out);
    for (int i = 0; i < kRows * kTokens; ++i) {
        const float factor = rows[i / kTokens].factor;
        out[i] = factor == 0 ? 0 : out[i] * factor;
    }
}

struct Target {
    float* out;  // [token * stride + row]
    std::int64_t stride;
    bool accumulate;
};

// Rows first, first + apart, ...
template <int kTokens, int... kRow>
HWY_INLINE void MultiplyGroup(const BlockMatrix& w, std::int64_t first, std::int64_t apart,
                              const float* x, const Target& target,
                              std::integer_sequence<int, kRow...>) {
    constexpr int kRows = sizeof...(kRow);
    const auto columns = static_cast<std::size_t>(w.columns);
    RowReader rows[] = {{w, first + kRow * apart}...};
    float sums[kRows * kTokens];
    DotRows<kRows, kTokens>(rows, {x, columns}, columns, sums);
    for (int i = 0; i < kRows * kTokens; ++i) {
        float& y = target.out[i % kTokens * target.stride + first + i / kTokens * apart];
        y = target.accumulate ? y + sums[i] : sums[i];
    }
}

void MultiplyPacked(const BlockMatrix& w, std::int64_t begin, std::int64_t end, const float* x,
                    std::int64_t n, float* out, std::int64_t outStride, bool accumulate) {
    const Target target{out, outStride, accumulate};
    const std::int64_t length = (end - begin) / kRowsTogether;
    ForCount<kMostTokens>(n, [&](auto count) HWY_ATTR {
        constexpr int kTokens = decltype(count)::value;
        for (std::int64_t row = begin; row < begin + length; ++row)
            MultiplyGroup<kTokens>(w, row, length, x, target, Indexes<kRowsTogether>());
        for (std::int64_t row = begin + length * kRowsTogether; row < end; ++row)
            MultiplyGroup<kTokens>(w, row, 0, x, target, Indexes<1>());
    });
}

std::int64_t MostTokensPacked() {
    return kMostTokens;
}

void UnpackRows(const BlockMatrix& w, std::int64_t begin, std::int64_t end, float* out) {
    const F32Tag d;
    const auto columns = static_cast<std::size_t>(w.columns);
    for (std::int64_t index = begin; index < end; ++index, out += columns) {
        const RowReader row(w, index);
        const F32Vector factor = hn::Set(d, row.factor);
        for (std::size_t k = 0; k < columns; k += kTwo) {
            FetchLinesToL2<kLineBytes>(row.fields + k * kPackedBits / 8 + kFarBytes);
            const TwoVectors weights = Unpack(row.fields, k);
            const F32Vector first = hn::Mul(weights.first, factor);
            const F32Vector second = hn::Mul(weights.second, factor);
            if (k + kTwo <= columns) {
                hn::StoreU(first, d, out + k);
                hn::StoreU(second, d, out + k + kLaneCount);
            } else {
                HWY_ALIGN float rest[kTwo];
                hn::Store(first, d, rest);
                hn::Store(second, d, rest + kLaneCount);
                std::memcpy(out + k, rest, (columns - k) * sizeof(float));
            }
        }
        for (const PackedException& exception : w.exceptionsOf(index))
            out[exception.column] = bfloat16ToFloat(exception.bits);
    }
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(MostTokensPacked);
HWY_EXPORT(MultiplyPacked);
HWY_EXPORT(UnpackRows);

namespace cpu {

std::int64_t mostTokensPacked() {
    return HWY_DYNAMIC_DISPATCH(MostTokensPacked)();
}

void multiplyPacked(const BlockMatrix& weights, std::int64_t begin, std::int64_t end,
                    const float* x, std::int64_t n, float* out, std::int64_t outStride,
                    bool accumulate) {
    HWY_DYNAMIC_DISPATCH(MultiplyPacked)(weights, begin, end, x, n, out, outStride, accumulate);
}

void unpackRows(const BlockMatrix& weights, std::int64_t begin, std::int64_t end, float* out) {
    HWY_DYNAMIC_DISPATCH(UnpackRows)(weights, begin, end, out);
}

}  // namespace cpu
}  // namespace qllama
#endif
