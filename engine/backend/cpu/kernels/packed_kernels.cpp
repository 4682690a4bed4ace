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
constexpr int kStreams = 4;
constexpr int kMostTokens = kHasAvx512 ? 6 : 3;

// So many blocks are whole cache lines; each is fetched once.
constexpr std::size_t kTurnBlocks = 4;
constexpr int kTurnLines = kTurnBlocks * kPackedBlockBytes / kLineBytes;
static_assert(kTurnLines * kLineBytes == kTurnBlocks * kPackedBlockBytes);
constexpr std::size_t kFar = 3072;
constexpr std::size_t kNear = 768;

// A field whose sign is the highest bit of 32 becomes a float: its sign, its exponent, of which the upper
// four bits are those of 2^-15 to 2^0, its mantissa.
constexpr std::int32_t kFieldBits = static_cast<std::int32_t>(0x87FF0000U);
constexpr std::int32_t kExponentBits = 112 << 23;

#if HWY_TARGET <= HWY_AVX3
// Of 16 neighbouring weights, 24 bytes: each lane takes the two words that its field lies in.
HWY_INLINE F32Vector UnpackLanes(const std::byte* row, std::size_t column) {
    alignas(64) static constexpr std::uint16_t kWords[32] = {0, 1, 0, 1,  1, 2,  2,  3,  3,  4, 3,
                                                             4, 4, 5, 5,  6, 6,  7,  6,  7,  7, 8,
                                                             8, 9, 9, 10, 9, 10, 10, 11, 11, 12};
    alignas(64) static constexpr std::uint32_t kShifts[16] = {20, 8, 12, 16, 20, 8, 12, 16,
                                                              20, 8, 12, 16, 20, 8, 12, 16};
    const __m512i bytes = _mm512_castsi256_si512(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + column * kPackedBits / 8)));
    const __m512i words = _mm512_permutexvar_epi16(_mm512_load_si512(kWords), bytes);
    const __m512i fields =
        _mm512_srai_epi32(_mm512_sllv_epi32(words, _mm512_load_si512(kShifts)), 4);
    constexpr int kAndOr = 0xEA;  // (a & b) | c
    return F32Vector{_mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        fields, _mm512_set1_epi32(kFieldBits), _mm512_set1_epi32(kExponentBits), kAndOr))};
}
#elif HWY_TARGET == HWY_SCALAR
HWY_INLINE F32Vector UnpackLanes(const std::byte* row, std::size_t column) {
    std::uint16_t two;
    std::memcpy(&two, row + column * kPackedBits / 8, sizeof two);
    const std::uint32_t field = std::uint32_t{two} << (column % 2 == 0 ? 20 : 16);
    return hn::BitCast(
        F32Tag(), hn::Set(hn::RebindToSigned<F32Tag>(),
                          (static_cast<std::int32_t>(field) >> 4 & kFieldBits) | kExponentBits));
}
#else
// Of 4 or 8 neighbouring weights: 6 bytes for each four lanes, of which one takes the two that its field
// lies in.
HWY_INLINE F32Vector UnpackLanes(const std::byte* row, std::size_t column) {
    const hn::Repartition<std::uint8_t, F32Tag> bytes;
    const hn::Full128<std::uint8_t> four;
    const hn::RebindToUnsigned<F32Tag> words;
    const hn::RebindToSigned<F32Tag> numbers;
    alignas(32) static constexpr std::uint8_t kBytes[32] = {
        128, 128, 0, 1, 128, 128, 1, 2, 128, 128, 3, 4, 128, 128, 4, 5,
        128, 128, 0, 1, 128, 128, 1, 2, 128, 128, 3, 4, 128, 128, 4, 5};
    const auto* at = reinterpret_cast<const std::uint8_t*>(row + column * kPackedBits / 8);
#if HWY_TARGET == HWY_AVX2
    const auto packed = hn::Combine(bytes, hn::LoadU(four, at + 6), hn::LoadU(four, at));
#else
    const auto packed = hn::LoadU(four, at);
#endif
    const auto fields =
        hn::BitCast(words, hn::TableLookupBytesOr0(packed, hn::Load(bytes, kBytes)));
    const auto raised = hn::BitCast(numbers, hn::OddEven(fields, hn::ShiftLeft<4>(fields)));
    return hn::BitCast(F32Tag(),
                       hn::Or(hn::And(hn::ShiftRight<4>(raised), hn::Set(numbers, kFieldBits)),
                              hn::Set(numbers, kExponentBits)));
}
#endif

// A row, whose weights divided by its factor are within 2^-15 and 2^1 but for the exceptions.
struct RowReader {
    RowReader(const QuantizedMatrix& weights, std::int64_t row)
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
        for (std::size_t lane = 0; lane < kBlock; lane += kLaneCount)
            hn::Store(UnpackLanes(fields, block * kBlock + lane), d, out + lane);
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
using BlockSteps = Indexes<static_cast<int>(kBlock / kLaneCount)>;

template <int... kToken>
HWY_INLINE void AddLanes(F32Vector weights, const Tokens& tokens, F32Vector* sums,
                         std::integer_sequence<int, kToken...>) {
    ((sums[kToken] = hn::MulAdd(weights, hn::LoadU(F32Tag(), tokens.x + kToken * tokens.stride),
                                sums[kToken])),
     ...);
}

template <int kTokens, int... kStep>
HWY_INLINE void AddBlock(const std::byte* fields, const Tokens& tokens, F32Vector* sums,
                         std::integer_sequence<int, kStep...>) {
    (AddLanes(UnpackLanes(fields, kStep * kLaneCount), tokens.from(kStep * kLaneCount), sums,
              Indexes<kTokens>()),
     ...);
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
        FetchLinesToL2<kLineBytes>(fields + kFar + kInTurn * kLineBytes);
        FetchLines<kLineBytes>(fields + kNear + kInTurn * kLineBytes);
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
    for (int i = 0; i < kRows * kTokens; ++i)
        out[i] *= rows[i / kTokens].factor;
}

struct Target {
    float* out;  // [token * stride + row]
    std::int64_t stride;
    bool accumulate;
};

// Rows first, first + apart, ...
template <int kTokens, int... kRow>
HWY_INLINE void MultiplyGroup(const QuantizedMatrix& w, std::int64_t first, std::int64_t apart,
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

void MultiplyPacked(const QuantizedMatrix& w, std::int64_t begin, std::int64_t end, const float* x,
                    std::int64_t n, float* out, std::int64_t outStride, bool accumulate) {
    const Target target{out, outStride, accumulate};
    const std::int64_t length = (end - begin) / kStreams;
    ForCount<kMostTokens>(n, [&](auto count) HWY_ATTR {
        constexpr int kTokens = decltype(count)::value;
        for (std::int64_t row = begin; row < begin + length; ++row)
            MultiplyGroup<kTokens>(w, row, length, x, target, Indexes<kStreams>());
        for (std::int64_t row = begin + length * kStreams; row < end; ++row)
            MultiplyGroup<kTokens>(w, row, 0, x, target, Indexes<1>());
    });
}

std::int64_t MostTokensPacked() {
    return kMostTokens;
}

void UnpackRows(const QuantizedMatrix& w, std::int64_t begin, std::int64_t end, float* out) {
    const F32Tag d;
    const auto columns = static_cast<std::size_t>(w.columns);
    for (std::int64_t index = begin; index < end; ++index, out += columns) {
        const RowReader row(w, index);
        const F32Vector factor = hn::Set(d, row.factor);
        std::size_t k = 0;
        for (; k + kLaneCount <= columns; k += kLaneCount) {
            FetchLinesToL2<kLineBytes>(row.fields + k * kPackedBits / 8 + kFar);
            hn::StoreU(hn::Mul(UnpackLanes(row.fields, k), factor), d, out + k);
        }
        if (k != columns) {
            HWY_ALIGN float rest[kLaneCount];
            hn::Store(hn::Mul(UnpackLanes(row.fields, k), factor), d, rest);
            std::memcpy(out + k, rest, (columns - k) * sizeof(float));
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

void multiplyPacked(const QuantizedMatrix& weights, std::int64_t begin, std::int64_t end,
                    const float* x, std::int64_t n, float* out, std::int64_t outStride,
                    bool accumulate) {
    HWY_DYNAMIC_DISPATCH(MultiplyPacked)(weights, begin, end, x, n, out, outStride, accumulate);
}

void unpackRows(const QuantizedMatrix& weights, std::int64_t begin, std::int64_t end, float* out) {
    HWY_DYNAMIC_DISPATCH(UnpackRows)(weights, begin, end, out);
}

}  // namespace cpu
}  // namespace qllama
#endif
