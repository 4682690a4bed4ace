#include "engine/backend/cpu/kernels/row_kernels.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/row_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

using cpu::GemmScratch;
using cpu::kColumnBlock;
using cpu::kPanelRows;
using cpu::kTokenBlock;
using cpu::RowMajorWeights;

// Tokens in a register tile beside 4 rows: 12 accumulators fit 16 registers, 24 fit 32.
constexpr int kTileTokens = HWY_TARGET <= HWY_AVX3 ? 6 : 3;
constexpr int kTileRows = 4;

// Rows of one matvec pass. Each row has one chain of dependent additions; eight chains hide the
// latency of the fused multiply-add on every core in use.
constexpr int kMatvecRows = 8;

template <int kRows, typename T>
HWY_INLINE void DotRows(const T* const* rows, const float* HWY_RESTRICT x, std::size_t columns,
                        float* HWY_RESTRICT out) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    F32Vector sums[kRows];
    for (int r = 0; r < kRows; ++r)
        sums[r] = hn::Zero(d);
    std::size_t k = 0;
    for (; k + lanes <= columns; k += lanes) {
        const F32Vector activation = hn::LoadU(d, x + k);
        for (int r = 0; r < kRows; ++r)
            sums[r] = hn::MulAdd(LoadAsF32(d, rows[r] + k), activation, sums[r]);
    }
    if (k != columns) {
        const F32Vector activation = LoadTailAsF32(d, x + k, columns - k);
        for (int r = 0; r < kRows; ++r)
            sums[r] = hn::MulAdd(LoadTailAsF32(d, rows[r] + k, columns - k), activation, sums[r]);
    }
    for (int r = 0; r < kRows; ++r)
        out[r] = hn::GetLane(hn::SumOfLanes(d, sums[r]));
}

template <int kRows, typename T>
HWY_INLINE void MatvecGroup(const T* weights, std::size_t columns, std::int64_t row, const float* x,
                            float* y, bool accumulate) {
    const T* rows[kRows];
    for (int r = 0; r < kRows; ++r)
        rows[r] = weights + static_cast<std::size_t>(row + r) * columns;
    float sums[kRows];
    DotRows<kRows>(rows, x, columns, sums);
    for (int r = 0; r < kRows; ++r)
        y[row + r] = accumulate ? y[row + r] + sums[r] : sums[r];
}

template <typename T>
void MatvecTyped(const RowMajorWeights& w, std::int64_t begin, std::int64_t end, const float* x,
                 float* y, bool accumulate) {
    const T* weights = static_cast<const T*>(w.data);
    const auto columns = static_cast<std::size_t>(w.columns);
    std::int64_t row = begin;
    for (; row + kMatvecRows <= end; row += kMatvecRows)
        MatvecGroup<kMatvecRows>(weights, columns, row, x, y, accumulate);
    for (; row < end; ++row)
        MatvecGroup<1>(weights, columns, row, x, y, accumulate);
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

// Adds columns [0, count) of a tile: w is [kRows, count], x is [kTokens, count], both with rows
// kColumnBlock apart. Accumulators: one vector for each (row, token).
template <int kRows, int kTokens>
HWY_INLINE void AccumulateTile(const float* HWY_RESTRICT w, const float* HWY_RESTRICT x,
                               std::size_t count, float* HWY_RESTRICT sums,
                               std::size_t sumsRowStride) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    F32Vector tile[kRows][kTokens];
    for (int r = 0; r < kRows; ++r)
        for (int t = 0; t < kTokens; ++t)
            tile[r][t] = hn::LoadU(d, sums + r * sumsRowStride + t * lanes);
    std::size_t k = 0;
    for (; k + lanes <= count; k += lanes) {
        F32Vector activations[kTokens];
        for (int t = 0; t < kTokens; ++t)
            activations[t] = hn::LoadU(d, x + t * kColumnBlock + k);
        for (int r = 0; r < kRows; ++r) {
            const F32Vector weight = hn::LoadU(d, w + r * kColumnBlock + k);
            for (int t = 0; t < kTokens; ++t)
                tile[r][t] = hn::MulAdd(weight, activations[t], tile[r][t]);
        }
    }
    if (k != count) {
        for (int r = 0; r < kRows; ++r) {
            const F32Vector weight = LoadTailAsF32(d, w + r * kColumnBlock + k, count - k);
            for (int t = 0; t < kTokens; ++t)
                tile[r][t] = hn::MulAdd(
                    weight, LoadTailAsF32(d, x + t * kColumnBlock + k, count - k), tile[r][t]);
        }
    }
    for (int r = 0; r < kRows; ++r)
        for (int t = 0; t < kTokens; ++t)
            hn::StoreU(tile[r][t], d, sums + r * sumsRowStride + t * lanes);
}

template <int kRows>
HWY_INLINE void AccumulateTokens(const float* w, const float* x, std::size_t count,
                                 std::size_t tokens, float* sums, std::size_t sumsRowStride) {
    const std::size_t lanes = hn::Lanes(F32Tag());
    std::size_t token = 0;
    for (; token + kTileTokens <= tokens; token += kTileTokens)
        AccumulateTile<kRows, kTileTokens>(w, x + token * kColumnBlock, count, sums + token * lanes,
                                           sumsRowStride);
    for (; token < tokens; ++token)
        AccumulateTile<kRows, 1>(w, x + token * kColumnBlock, count, sums + token * lanes,
                                 sumsRowStride);
}

void WidenPanel(const RowMajorWeights& w, std::int64_t begin, std::size_t rows, std::size_t column,
                std::size_t count, float* panel) {
    const auto size = static_cast<std::size_t>(sizeOf(w.dtype));
    for (std::size_t r = 0; r < rows; ++r) {
        const std::size_t element =
            (static_cast<std::size_t>(begin) + r) * static_cast<std::size_t>(w.columns) + column;
        Widen(w.dtype, static_cast<const std::byte*>(w.data) + element * size,
              static_cast<std::int64_t>(count), panel + r * kColumnBlock);
    }
}

void StoreSums(const float* sums, std::size_t rows, std::size_t tokens, std::int64_t begin,
               float* out, std::int64_t outStride, bool accumulate) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    for (std::size_t token = 0; token < tokens; ++token) {
        float* target = out + static_cast<std::int64_t>(token) * outStride + begin;
        for (std::size_t r = 0; r < rows; ++r) {
            const float sum = hn::GetLane(
                hn::SumOfLanes(d, hn::LoadU(d, sums + (r * kTokenBlock + token) * lanes)));
            target[r] = accumulate ? target[r] + sum : sum;
        }
    }
}

void GemmPanel(const RowMajorWeights& w, std::int64_t begin, std::int64_t end, const float* packed,
               std::int64_t n, float* out, std::int64_t outStride, bool accumulate,
               GemmScratch& scratch) {
    const std::size_t lanes = hn::Lanes(F32Tag());
    const auto rows = static_cast<std::size_t>(end - begin);
    const std::size_t rowStride = kTokenBlock * lanes;
    scratch.panel.resize(kPanelRows * kColumnBlock);
    scratch.accumulators.resize(kPanelRows * rowStride);
    const float* panel = scratch.panel.data();
    float* sums = scratch.accumulators.data();
    for (std::int64_t first = 0; first < n; first += kTokenBlock) {
        const auto tokens = static_cast<std::size_t>(std::min(kTokenBlock, n - first));
        std::fill(sums, sums + rows * rowStride, 0.0F);
        for (std::int64_t column = 0; column < w.columns; column += kColumnBlock) {
            const auto count = static_cast<std::size_t>(std::min(kColumnBlock, w.columns - column));
            WidenPanel(w, begin, rows, static_cast<std::size_t>(column), count,
                       scratch.panel.data());
            const float* x = packed + column * n + first * kColumnBlock;
            std::size_t r = 0;
            for (; r + kTileRows <= rows; r += kTileRows)
                AccumulateTokens<kTileRows>(panel + r * kColumnBlock, x, count, tokens,
                                            sums + r * rowStride, rowStride);
            for (; r < rows; ++r)
                AccumulateTokens<1>(panel + r * kColumnBlock, x, count, tokens,
                                    sums + r * rowStride, rowStride);
        }
        StoreSums(sums, rows, tokens, begin, out + first * outStride, outStride, accumulate);
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
    NarrowTyped(source, static_cast<std::size_t>(count), reinterpret_cast<hwy::float16_t*>(out));
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(MatvecRows);
HWY_EXPORT(GemmPanel);
HWY_EXPORT(Widen);
HWY_EXPORT(NarrowToHalf);

namespace cpu {

void matvecRows(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
                const float* x, float* y, bool accumulate) {
    HWY_DYNAMIC_DISPATCH(MatvecRows)(weights, begin, end, x, y, accumulate);
}

void packRow(const float* x, std::int64_t columns, std::int64_t n, std::int64_t row,
             float* packed) {
    for (std::int64_t column = 0; column < columns; column += kColumnBlock)
        std::copy_n(x + row * columns + column, std::min(kColumnBlock, columns - column),
                    packed + column * n + row * kColumnBlock);
}

void gemmPanel(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
               const float* packed, std::int64_t n, float* out, std::int64_t outStride,
               bool accumulate, GemmScratch& scratch) {
    HWY_DYNAMIC_DISPATCH(GemmPanel)
    (weights, begin, end, packed, n, out, outStride, accumulate, scratch);
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
