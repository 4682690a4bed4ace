#include "engine/backend/cpu/kernels/packed_kernels.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/packed_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/fold_lanes-inl.h"
#include "engine/backend/cpu/kernels/for_count-inl.h"
#include "engine/backend/cpu/kernels/packed_fields-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

// Rows are read side by side as row_kernels.cpp does for one token, and for the same reasons; with so many
// tokens their sums fill the registers.
constexpr int kRowsTogether = 4;
constexpr int kMostTokens = kHasAvx512 ? 6 : 3;

// Without vectors, blocks written out weight by weight would keep the compiler busy for minutes: there each of
// them is unpacked by a loop first.
constexpr bool kWritesOutBlocks = HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128;

template <typename Rows>
struct RowReader {
    RowReader(const BlockMatrix& weights, std::int64_t row)
        : bytes(weights.tiles + row * weights.rowBytes()),
          factor(Rows::kHasFactors ? weights.rowFactors[row] : 1.0F) {
        const auto exceptions = weights.exceptionsOf(row);
        next = exceptions.data();
        end = next + exceptions.size();
        // What stands beside the weights is read a few bytes a row: each new line of it would be waited for.
        constexpr std::int64_t kRowsAhead = 2 * kLineBytes / std::int64_t{sizeof(float)};
        FetchLines<1>(weights.exceptionEnds + row + kRowsAhead);
        FetchLines<1>(end + kLineBytes / sizeof(PackedException));
        if constexpr (Rows::kHasFactors) FetchLines<1>(weights.rowFactors + row + kRowsAhead);
    }

    // That the next exception is in; past all blocks if there is none.
    [[nodiscard]] HWY_INLINE std::size_t blockOfNext() const {
        return next == end ? ~std::size_t{0} : next->column / kBlock;
    }

    // A block divided by the factor, with its exceptions.
    HWY_INLINE void unpackBlock(std::size_t block, float* HWY_RESTRICT out) {
        const F32Tag d;
        for (std::size_t k = 0; k < kBlock; k += kTwo) {
            const TwoVectors weights = unpack(block, k);
            hn::Store(weights.first, d, out + k);
            hn::Store(weights.second, d, out + k + kLaneCount);
        }
        for (; next != end && next->column / kBlock == block; ++next)
            out[next->column % kBlock] = Rows::toFloat(next->bits) / factor;
    }

    // Those of a block from its column `k` on.
    [[nodiscard]] HWY_INLINE TwoVectors unpack(std::size_t block, std::size_t k) const {
        const std::byte* at = bytes + Rows::offsetOf(block);
        return Rows::isSpread(block) ? Rows::template unpack<true>(at, k)
                                     : Rows::template unpack<false>(at, k);
    }

    const std::byte* bytes;
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

template <typename Rows, bool kIsSpread, int kTokens, int... kStep>
HWY_INLINE void AddBlock(const std::byte* block, const Tokens& tokens, F32Vector* sums,
                         std::integer_sequence<int, kStep...>) {
    (AddTwo<kTokens>(Rows::template unpack<kIsSpread>(block, kStep * kTwo),
                     tokens.from(kStep * kTwo), sums),
     ...);
}

template <bool kIsSpread, int kTokens, typename Rows, int... kRow>
HWY_INLINE void AddBlocks(const RowReader<Rows>* rows, std::size_t block, const Tokens& tokens,
                          F32Vector* sums, std::integer_sequence<int, kRow...>) {
    (AddBlock<Rows, kIsSpread, kTokens>(rows[kRow].bytes + Rows::offsetOf(block),
                                        tokens.from(block * kBlock), sums + kRow * kTokens,
                                        BlockSteps()),
     ...);
}

template <typename Rows, int kTokens, int kInTurn, int... kStep>
HWY_INLINE void AddInTurn(const std::byte* turn, const Tokens& tokens, F32Vector* sums,
                          typename Rows::Carry& carry, std::integer_sequence<int, kStep...>) {
    (AddTwo<kTokens>(Rows::template unpackInTurn<kInTurn>(turn, kStep * kTwo, carry),
                     tokens.from(kInTurn * kBlock + kStep * kTwo), sums),
     ...);
}

// Block kInTurn of a turn that begins at `turn`, and what is to be fetched of a later one.
template <typename Rows, int kTokens, int kInTurn>
HWY_INLINE void AddBlockOfTurn(const std::byte* turn, const Tokens& tokens, F32Vector* sums,
                               typename Rows::Carry& carry) {
    if constexpr (kInTurn < Rows::kTurnLines)
        FetchStream<kLineBytes>(turn + kInTurn * kLineBytes, cpu::weightStreams.rows);
    asm volatile("");  // else the compiler moves all that is fetched to the beginning of the turn
    AddInTurn<Rows, kTokens, kInTurn>(turn, tokens, sums, carry, BlockSteps());
}

template <int kTokens, int kInTurn, typename Rows, int... kRow>
HWY_INLINE void AddBlocksOfTurn(const RowReader<Rows>* rows, std::size_t offset,
                                const Tokens& tokens, F32Vector* sums,
                                typename Rows::Carry* carries,
                                std::integer_sequence<int, kRow...>) {
    (AddBlockOfTurn<Rows, kTokens, kInTurn>(rows[kRow].bytes + offset, tokens,
                                            sums + kRow * kTokens, carries[kRow]),
     ...);
}

template <int kTokens, typename Rows, int... kInTurn, int... kRow>
HWY_INLINE void AddTurn(const RowReader<Rows>* rows, std::size_t block, const Tokens& tokens,
                        F32Vector* sums, std::integer_sequence<int, kInTurn...>,
                        std::integer_sequence<int, kRow...> all) {
    typename Rows::Carry carries[sizeof...(kRow)];
    (AddBlocksOfTurn<kTokens, kInTurn>(rows, Rows::offsetOf(block), tokens.from(block * kBlock),
                                       sums, carries, all),
     ...);
}

// A block that has exceptions, or is not whole: `columns` of it are there.
template <int kTokens, typename Rows>
HWY_INLINE void AddOddBlock(RowReader<Rows>& row, std::size_t block, std::size_t columns,
                            const Tokens& tokens, F32Vector* sums) {
    const F32Tag d;
    HWY_ALIGN float weights[kBlock];
    row.unpackBlock(block, weights);
    for (std::size_t k = 0; k < columns; k += kLaneCount)
        AddLanes(hn::Load(d, weights + k), tokens.from(k), sums, Indexes<kTokens>());
}

template <int kTokens, typename Rows, int... kRow>
HWY_INLINE void AddOddBlocks(RowReader<Rows>* rows, std::size_t block, std::size_t columns,
                             const Tokens& tokens, F32Vector* sums,
                             std::integer_sequence<int, kRow...>) {
    HWY_ALIGN float padded[kTokens * kBlock] = {};
    for (int t = 0; t < kTokens; ++t)
        std::memcpy(padded + t * kBlock, tokens.x + t * tokens.stride + block * kBlock,
                    columns * sizeof(float));
    (AddOddBlock<kTokens>(rows[kRow], block, columns, {padded, kBlock}, sums + kRow * kTokens),
     ...);
}

// The blocks [block, until), all whole and without exceptions.
template <int kTokens, typename Rows, int... kRow>
HWY_INLINE void AddPlainBlocks(const RowReader<Rows>* rows, std::size_t block, std::size_t until,
                               const Tokens& tokens, F32Vector* sums,
                               std::integer_sequence<int, kRow...> all) {
    while (block < until) {
        if (Rows::beginsTurn(block) && block + Rows::kTurnBlocks <= until) {
            AddTurn<kTokens>(rows, block, tokens, sums, Indexes<Rows::kTurnBlocks>(), all);
            block += Rows::kTurnBlocks;
        } else if (Rows::isSpread(block)) {
            AddBlocks<true, kTokens>(rows, block++, tokens, sums, all);
        } else {
            AddBlocks<false, kTokens>(rows, block++, tokens, sums, all);
        }
    }
}

// out [kRows][kTokens]
template <int kRows, int kTokens, typename Rows>
HWY_INLINE void DotRows(RowReader<Rows>* rows, const Tokens& tokens, std::size_t columns,
                        float* HWY_RESTRICT out) {
    F32Vector sums[kRows * kTokens];
    for (F32Vector& sum : sums)
        sum = hn::Zero(F32Tag());
    constexpr Indexes<kRows> kAll;
    const std::size_t whole = columns / kBlock;
    for (std::size_t block = 0; block < whole; ++block) {
        if constexpr (kWritesOutBlocks) {
            std::size_t until = whole;
            for (int r = 0; r < kRows; ++r)
                until = std::min(until, rows[r].blockOfNext());
            AddPlainBlocks<kTokens>(rows, block, until, tokens, sums, kAll);
            block = until;
            if (block == whole) break;
        }
        AddOddBlocks<kTokens>(rows, block, kBlock, tokens, sums, kAll);
    }
    if (columns % kBlock != 0)
        AddOddBlocks<kTokens>(rows, whole, columns % kBlock, tokens, sums, kAll);
    FoldLanes<LaneSum, kRows * kTokens>(F32Tag(), sums, out);
    if constexpr (!Rows::kHasFactors) return;
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

// `count` rows: first, first + apart, ... In place of those that are missing the last one is read again.
template <typename Rows, int kTokens, int... kRow>
HWY_INLINE void MultiplyGroup(const BlockMatrix& w, std::int64_t first, std::int64_t apart,
                              std::int64_t count, const float* x, const Target& target,
                              std::integer_sequence<int, kRow...>) {
    constexpr int kRows = sizeof...(kRow);
    const auto columns = static_cast<std::size_t>(w.columns);
    RowReader<Rows> rows[] = {{w, first + std::min<std::int64_t>(kRow, count - 1) * apart}...};
    float sums[kRows * kTokens];
    DotRows<kRows, kTokens>(rows, {x, columns}, columns, sums);
    for (std::int64_t r = 0; r < count; ++r)
        for (int t = 0; t < kTokens; ++t) {
            float& y = target.out[t * target.stride + first + r * apart];
            const float sum = sums[r * kTokens + t];
            y = target.accumulate ? y + sum : sum;
        }
}

template <typename Rows>
void MultiplyRows(const BlockMatrix& w, std::int64_t begin, std::int64_t end, const float* x,
                  std::int64_t n, const Target& target) {
    const std::int64_t length = (end - begin) / kRowsTogether;
    const std::int64_t rest = begin + length * kRowsTogether;
    ForCount<kMostTokens>(n, [&](auto tokens) HWY_ATTR {
        constexpr int kTokens = decltype(tokens)::value;
        using Form = typename Rows::template ForTokens<kTokens>;
        const auto multiply = [&](std::int64_t row, std::int64_t apart,
                                  std::int64_t count) HWY_ATTR {
            MultiplyGroup<Form, kTokens>(w, row, apart, count, x, target, Indexes<kRowsTogether>());
        };
        for (std::int64_t row = begin; row < begin + length; ++row)
            multiply(row, length, kRowsTogether);
        if (rest != end) multiply(rest, 1, end - rest);
    });
}

void MultiplyPacked(const BlockMatrix& w, std::int64_t begin, std::int64_t end, const float* x,
                    std::int64_t n, float* out, std::int64_t outStride, bool accumulate) {
    const Target target{out, outStride, accumulate};
    if (w.format == BlockFormat::PackedF16)
        MultiplyRows<F16Rows<false>>(w, begin, end, x, n, target);
    else
        MultiplyRows<Bf16Rows>(w, begin, end, x, n, target);
}

std::int64_t MostTokensPacked() {
    return kMostTokens;
}

template <typename Rows>
void UnpackRow(const BlockMatrix& w, std::int64_t index, float* out) {
    const F32Tag d;
    const auto columns = static_cast<std::size_t>(w.columns);
    const RowReader<Rows> row(w, index);
    const F32Vector factor = hn::Set(d, row.factor);
    for (std::size_t block = 0; block * kBlock < columns; ++block) {
        HWY_ALIGN float last[kBlock];
        const std::size_t count = std::min(kBlock, columns - block * kBlock);
        float* const target = count == kBlock ? out + block * kBlock : last;
        FetchLinesToL2<kLineBytes>(row.bytes + Rows::offsetOf(block) + cpu::weightStreams.rows.far);
        for (std::size_t k = 0; k < kBlock; k += kTwo) {
            const TwoVectors weights = row.unpack(block, k);
            hn::StoreU(hn::Mul(weights.first, factor), d, target + k);
            hn::StoreU(hn::Mul(weights.second, factor), d, target + k + kLaneCount);
        }
        if (target == last) std::memcpy(out + block * kBlock, last, count * sizeof(float));
    }
    for (const PackedException& exception : w.exceptionsOf(index))
        out[exception.column] = Rows::toFloat(exception.bits);
}

void UnpackRows(const BlockMatrix& w, std::int64_t begin, std::int64_t end, float* out) {
    for (std::int64_t row = begin; row < end; ++row, out += w.columns)
        if (w.format == BlockFormat::PackedF16)
            UnpackRow<F16Rows<false>>(w, row, out);
        else
            UnpackRow<Bf16Rows>(w, row, out);
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
