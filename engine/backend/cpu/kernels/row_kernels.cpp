#include "engine/backend/cpu/kernels/row_kernels.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/row_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/fold_lanes-inl.h"
#include "engine/backend/cpu/kernels/for_count-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

using cpu::RowMajorWeights;

// A register tile for a few tokens: 4 rows by 3 tokens are 12 accumulators and fit 16 registers, 24 fit 32.
constexpr int kTileTokens = kHasAvx512 ? 6 : 3;
constexpr int kTileRows = 4;

// So few take the streams of one token, for which they wait like it; with more, neighbouring rows are faster.
constexpr std::int64_t kFewTokens = 18;

constexpr std::int64_t kTokenBlock = 132;

// Rows that a matvec reads side by side, each in its own part of the portion, so that every one of them
// goes on where the row before it ended: the processor fetches ahead along a few long streams better
// than along many that stop at each row's end. Three and five measure the same; eight, and eight rows
// that are neighbours, 3 and 12 % less.
constexpr int kMatvecStreams = 4;

// Vectors of a row that are multiplied in a row's turn: a cache line of f16.
constexpr int kTurn =
    static_cast<int>(kLineBytes / (sizeof(hwy::float16_t) * hn::MaxLanes(F32Tag())));

// Beyond the weights fetching never faults.
template <typename T>
HWY_INLINE void FetchAhead(const T* turn) {
    constexpr std::int64_t kTurnBytes = kLineBytes / sizeof(hwy::float16_t) * sizeof(T);
    FetchStream<kTurnBytes>(turn, cpu::weightStreams.rows);
}

template <int kRows, typename T>
HWY_INLINE void DotRows(const T* const* rows, const float* HWY_RESTRICT x, std::size_t columns,
                        float* HWY_RESTRICT out) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    F32Vector sums[kRows];
    for (int r = 0; r < kRows; ++r)
        sums[r] = hn::Zero(d);
    std::size_t k = 0;
    for (; k + kTurn * lanes <= columns; k += kTurn * lanes)
        for (int r = 0; r < kRows; ++r) {
            FetchAhead(rows[r] + k);
            for (std::size_t i = k; i < k + kTurn * lanes; i += lanes)
                sums[r] = hn::MulAdd(LoadAsF32(d, rows[r] + i), hn::LoadU(d, x + i), sums[r]);
        }
    for (; k + lanes <= columns; k += lanes)
        for (int r = 0; r < kRows; ++r)
            sums[r] = hn::MulAdd(LoadAsF32(d, rows[r] + k), hn::LoadU(d, x + k), sums[r]);
    if (k != columns) {
        const F32Vector activation = LoadTailAsF32(d, x + k, columns - k);
        for (int r = 0; r < kRows; ++r)
            sums[r] = hn::MulAdd(LoadTailAsF32(d, rows[r] + k, columns - k), activation, sums[r]);
    }
    FoldLanes<LaneSum, kRows>(d, sums, out);
}

// Rows first, first + stride, ...
template <int kRows, typename T>
HWY_INLINE void MatvecGroup(const T* weights, std::size_t columns, std::int64_t first,
                            std::int64_t stride, const float* x, float* y, bool accumulate) {
    const T* rows[kRows];
    for (int r = 0; r < kRows; ++r)
        rows[r] = weights + static_cast<std::size_t>(first + r * stride) * columns;
    float sums[kRows];
    DotRows<kRows>(rows, x, columns, sums);
    for (int r = 0; r < kRows; ++r) {
        float& target = y[first + r * stride];
        target = accumulate ? target + sums[r] : sums[r];
    }
}

template <typename T>
void MatvecTyped(const RowMajorWeights& w, std::int64_t begin, std::int64_t end, const float* x,
                 float* y, bool accumulate) {
    const T* weights = static_cast<const T*>(w.data);
    const auto columns = static_cast<std::size_t>(w.columns);
    const std::int64_t length = (end - begin) / kMatvecStreams;
    for (std::int64_t i = 0; i < length; ++i)
        MatvecGroup<kMatvecStreams>(weights, columns, begin + i, length, x, y, accumulate);
    for (std::int64_t row = begin + length * kMatvecStreams; row < end; ++row)
        MatvecGroup<1>(weights, columns, row, 0, x, y, accumulate);
}

// What to fetch while a turn of a row is multiplied: ahead along the row's stream, where few tokens make it
// wait for memory as one does; the turn of a later row; or nothing, where that was done before.
struct AheadOfTurn {
    template <typename T>
    HWY_INLINE void operator()(const T* turn) const {
        FetchAhead(turn);
    }
};
struct LaterRow {
    std::size_t elements;
    template <typename T>
    HWY_INLINE void operator()(const T* turn) const {
        constexpr std::int64_t kTurnBytes = kLineBytes / sizeof(hwy::float16_t) * sizeof(T);
        FetchLinesToL2<kTurnBytes>(turn + elements);
    }
};
struct Nothing {
    HWY_INLINE void operator()(const void*) const {}
};

// kRows rows, `apart` rows from one to the next, with kTokens tokens, x [kTokens, columns]; each weight is
// read and widened once.
template <int kRows, int kTokens, typename T, typename Fetch>
HWY_INLINE void MultiplyTile(const T* weights, std::int64_t apart, std::size_t columns,
                             const Fetch& fetch, const float* x, float* out, std::int64_t outStride,
                             bool accumulate) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    const T* rows[kRows];
    for (int r = 0; r < kRows; ++r)
        rows[r] = weights + static_cast<std::size_t>(r * apart) * columns;
    F32Vector sums[kTokens * kRows];
    for (F32Vector& sum : sums)
        sum = hn::Zero(d);
    std::size_t k = 0;
    for (; k + lanes <= columns; k += lanes) {
        if (k % (kTurn * lanes) == 0)
            for (int r = 0; r < kRows; ++r)
                fetch(rows[r] + k);
        for (int r = 0; r < kRows; ++r) {
            const F32Vector weight = LoadAsF32(d, rows[r] + k);
            for (int t = 0; t < kTokens; ++t)
                sums[t * kRows + r] =
                    hn::MulAdd(weight, hn::LoadU(d, x + t * columns + k), sums[t * kRows + r]);
        }
    }
    if (k != columns) {
        for (int r = 0; r < kRows; ++r) {
            const F32Vector weight = LoadTailAsF32(d, rows[r] + k, columns - k);
            for (int t = 0; t < kTokens; ++t)
                sums[t * kRows + r] =
                    hn::MulAdd(weight, LoadTailAsF32(d, x + t * columns + k, columns - k),
                               sums[t * kRows + r]);
        }
    }
    float totals[kTokens * kRows];
    FoldLanes<LaneSum, kTokens * kRows>(d, sums, totals);
    for (int t = 0; t < kTokens; ++t)
        for (int r = 0; r < kRows; ++r) {
            float& target = out[t * outStride + r * apart];
            target = accumulate ? target + totals[t * kRows + r] : totals[t * kRows + r];
        }
}

// kRows rows with tokens [0, n); all of `fetch` is fetched once.
template <int kRows, typename T, typename Fetch>
HWY_INLINE void MultiplyGroup(const T* weights, std::int64_t apart, std::size_t columns,
                              const Fetch& fetch, const float* x, std::int64_t n, float* out,
                              std::int64_t outStride, bool accumulate) {
    const auto multiply = [&](auto tokens, std::int64_t token, const auto& ahead) HWY_ATTR {
        MultiplyTile<kRows, decltype(tokens)::value>(
            weights, apart, columns, ahead, x + token * static_cast<std::int64_t>(columns),
            out + token * outStride, outStride, accumulate);
    };
    if (n < kTileTokens) {
        ForCount<kTileTokens - 1>(n, [&](auto tokens) HWY_ATTR { multiply(tokens, 0, fetch); });
        return;
    }
    constexpr std::integral_constant<int, kTileTokens> kWhole;
    multiply(kWhole, 0, fetch);
    std::int64_t token = kTileTokens;
    for (; token + kTileTokens <= n; token += kTileTokens)
        multiply(kWhole, token, Nothing());
    ForCount<kTileTokens - 1>(n - token,
                              [&](auto tokens) HWY_ATTR { multiply(tokens, token, Nothing()); });
}

// Neighbouring rows stay in the L1 cache while a block of tokens passes by.
template <typename T>
void GemmBlocks(const T* weights, std::size_t columns, std::int64_t begin, std::int64_t end,
                const float* x, std::int64_t n, float* out, std::int64_t outStride,
                bool accumulate) {
    for (std::int64_t first = 0; first < n; first += kTokenBlock) {
        const std::int64_t tokens = std::min(kTokenBlock, n - first);
        const float* block = x + static_cast<std::size_t>(first) * columns;
        float* target = out + first * outStride;
        std::int64_t row = begin;
        for (; row + kTileRows <= end; row += kTileRows)
            MultiplyGroup<kTileRows>(weights + static_cast<std::size_t>(row) * columns, 1, columns,
                                     LaterRow{kTileRows * columns}, block, tokens, target + row,
                                     outStride, accumulate);
        for (; row < end; ++row)
            MultiplyGroup<1>(weights + static_cast<std::size_t>(row) * columns, 0, columns,
                             Nothing(), block, tokens, target + row, outStride, accumulate);
    }
}

template <typename T>
void GemmTyped(const RowMajorWeights& w, std::int64_t begin, std::int64_t end, const float* x,
               std::int64_t n, float* out, std::int64_t outStride, bool accumulate) {
    const T* weights = static_cast<const T*>(w.data);
    const auto columns = static_cast<std::size_t>(w.columns);
    if (n > kFewTokens) {
        GemmBlocks(weights, columns, begin, end, x, n, out, outStride, accumulate);
        return;
    }
    const std::int64_t length = (end - begin) / kTileRows;
    for (std::int64_t row = begin; row < begin + length; ++row)
        MultiplyGroup<kTileRows>(weights + static_cast<std::size_t>(row) * columns, length, columns,
                                 AheadOfTurn(), x, n, out + row, outStride, accumulate);
    for (std::int64_t row = begin + length * kTileRows; row < end; ++row)
        MultiplyGroup<1>(weights + static_cast<std::size_t>(row) * columns, 0, columns, Nothing(),
                         x, n, out + row, outStride, accumulate);
}

void GemmRows(const RowMajorWeights& w, std::int64_t begin, std::int64_t end, const float* x,
              std::int64_t n, float* out, std::int64_t outStride, bool accumulate) {
    switch (w.dtype) {
        case DType::F32:
            return GemmTyped<float>(w, begin, end, x, n, out, outStride, accumulate);
        case DType::F16:
            return GemmTyped<hwy::float16_t>(w, begin, end, x, n, out, outStride, accumulate);
        case DType::BF16:
            return GemmTyped<hwy::bfloat16_t>(w, begin, end, x, n, out, outStride, accumulate);
        default:
            assert(false);
    }
}

void MatvecRows(const RowMajorWeights& w, std::int64_t begin, std::int64_t end, const float* x,
                float* y, bool accumulate) {
    switch (w.dtype) {
        case DType::F32:
            return MatvecTyped<float>(w, begin, end, x, y, accumulate);
        case DType::F16:
            return MatvecTyped<hwy::float16_t>(w, begin, end, x, y, accumulate);
        case DType::BF16:
            return MatvecTyped<hwy::bfloat16_t>(w, begin, end, x, y, accumulate);
        default:
            assert(false);
    }
}

template <typename T>
HWY_INLINE void WidenTyped(const T* HWY_RESTRICT source, std::size_t count,
                           float* HWY_RESTRICT out) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    std::size_t index = 0;
    for (; index + lanes <= count; index += lanes)
        hn::StoreU(LoadAsF32(d, source + index), d, out + index);
    if (index != count) {
        HWY_ALIGN float tail[hn::MaxLanes(F32Tag())];
        hn::Store(LoadTailAsF32(d, source + index, count - index), d, tail);
        std::memcpy(out + index, tail, (count - index) * sizeof(float));
    }
}

void Widen(DType dtype, const void* source, std::int64_t count, float* out) {
    const auto size = static_cast<std::size_t>(count);
    switch (dtype) {
        case DType::F32:
            return WidenTyped(static_cast<const float*>(source), size, out);
        case DType::F16:
            return WidenTyped(static_cast<const hwy::float16_t*>(source), size, out);
        case DType::BF16:
            return WidenTyped(static_cast<const hwy::bfloat16_t*>(source), size, out);
        default:
            assert(false);
    }
}

template <typename T>
void NarrowTyped(const float* source, std::size_t count, T* out) {
    const F32Tag d;
    const hn::Rebind<T, F32Tag> narrow;
    const std::size_t lanes = hn::Lanes(d);
    std::size_t index = 0;
    for (; index + lanes <= count; index += lanes)
        hn::StoreU(hn::DemoteTo(narrow, hn::LoadU(d, source + index)), narrow, out + index);
    if (index != count) {
        HWY_ALIGN T tail[hn::MaxLanes(F32Tag())];
        hn::Store(hn::DemoteTo(narrow, LoadTailAsF32(d, source + index, count - index)), narrow,
                  tail);
        std::memcpy(out + index, tail, (count - index) * sizeof(T));
    }
}

void NarrowToHalf(const float* source, std::int64_t count, std::uint16_t* out) {
#if HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
    // Without an instruction for it, Highway 1.0 cuts the bits off instead of rounding.
    for (std::int64_t index = 0; index < count; ++index)
        out[index] = floatToHalf(source[index]);
#else
    NarrowTyped(source, static_cast<std::size_t>(count), reinterpret_cast<hwy::float16_t*>(out));
#endif
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(MatvecRows);
HWY_EXPORT(GemmRows);
HWY_EXPORT(Widen);
HWY_EXPORT(NarrowToHalf);

namespace cpu {

void matvecRows(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
                const float* x, float* y, bool accumulate) {
    HWY_DYNAMIC_DISPATCH(MatvecRows)(weights, begin, end, x, y, accumulate);
}

void gemmRows(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end, const float* x,
              std::int64_t n, float* out, std::int64_t outStride, bool accumulate) {
    HWY_DYNAMIC_DISPATCH(GemmRows)(weights, begin, end, x, n, out, outStride, accumulate);
}

void widen(DType dtype, const void* source, std::int64_t count, float* out) {
    HWY_DYNAMIC_DISPATCH(Widen)(dtype, source, count, out);
}

void narrow(DType dtype, const float* source, std::int64_t count, std::uint16_t* out) {
    if (dtype == DType::F16) {
        HWY_DYNAMIC_DISPATCH(NarrowToHalf)(source, count, out);
        return;
    }
    // Scalar: DemoteTo(bf16) truncates in this version of Highway, and speed does not matter here.
    for (std::int64_t index = 0; index < count; ++index)
        out[index] = floatToBfloat16(source[index]);
}

}  // namespace cpu
}  // namespace qllama
#endif
