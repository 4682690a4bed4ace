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

// Rows whose column block, 16 KiB, stays in the L1 cache.
constexpr std::size_t kStripRows = 8;

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
    if constexpr (kRows == 8) {
        SumLanesOfEight(d, sums, out);
    } else {
        for (int r = 0; r < kRows; ++r)
            out[r] = hn::GetLane(hn::SumOfLanes(d, sums[r]));
    }
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
// kColumnBlock apart and zero up to a whole vector. Accumulators: one vector for each (row, token).
template <int kRows, int kTokens>
HWY_INLINE void AccumulateTile(const float* HWY_RESTRICT w, const float* HWY_RESTRICT x,
                               std::size_t count, float* HWY_RESTRICT sums,
                               std::size_t sumsRowStride) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    F32Vector tile[kRows][kTokens];
    for (int r = 0; r < kRows; ++r)
        for (int t = 0; t < kTokens; ++t)
            tile[r][t] = hn::Load(d, sums + r * sumsRowStride + t * lanes);
    for (std::size_t k = 0; k < count; k += lanes) {
        F32Vector activations[kTokens];
        for (int t = 0; t < kTokens; ++t)
            activations[t] = hn::Load(d, x + t * kColumnBlock + k);
        for (int r = 0; r < kRows; ++r) {
            const F32Vector weight = hn::Load(d, w + r * kColumnBlock + k);
            for (int t = 0; t < kTokens; ++t)
                tile[r][t] = hn::MulAdd(weight, activations[t], tile[r][t]);
        }
    }
    for (int r = 0; r < kRows; ++r)
        for (int t = 0; t < kTokens; ++t)
            hn::Store(tile[r][t], d, sums + r * sumsRowStride + t * lanes);
}

template <int kTokens>
HWY_INLINE void AccumulateRows(const float* w, std::size_t rows, const float* x, std::size_t count,
                               float* sums, std::size_t sumsRowStride) {
    std::size_t r = 0;
    for (; r + kTileRows <= rows; r += kTileRows)
        AccumulateTile<kTileRows, kTokens>(w + r * kColumnBlock, x, count, sums + r * sumsRowStride,
                                           sumsRowStride);
    for (; r < rows; ++r)
        AccumulateTile<1, kTokens>(w + r * kColumnBlock, x, count, sums + r * sumsRowStride,
                                   sumsRowStride);
}

// A strip of rows stays in the L1 cache while the tokens pass by.
HWY_INLINE void AccumulateStrip(const float* w, std::size_t rows, const float* x, std::size_t count,
                                std::size_t tokens, float* sums, std::size_t sumsRowStride) {
    const std::size_t lanes = hn::Lanes(F32Tag());
    std::size_t token = 0;
    for (; token + kTileTokens <= tokens; token += kTileTokens)
        AccumulateRows<kTileTokens>(w, rows, x + token * kColumnBlock, count, sums + token * lanes,
                                    sumsRowStride);
    for (; token < tokens; ++token)
        AccumulateRows<1>(w, rows, x + token * kColumnBlock, count, sums + token * lanes,
                          sumsRowStride);
}

// The panel as f32, laid out [column block][row][kColumnBlock], zero up to paddedCount.
void WidenPanel(const RowMajorWeights& w, std::int64_t begin, std::size_t rows, float* panel) {
    const std::int64_t size = sizeOf(w.dtype);
    for (std::int64_t column = 0; column < w.columns; column += kColumnBlock) {
        const std::int64_t count = std::min(kColumnBlock, w.columns - column);
        for (std::size_t r = 0; r < rows; ++r, panel += kColumnBlock) {
            const std::int64_t element =
                (begin + static_cast<std::int64_t>(r)) * w.columns + column;
            Widen(w.dtype, static_cast<const std::byte*>(w.data) + element * size, count, panel);
            std::fill(panel + count, panel + cpu::paddedCount(count), 0.0F);
        }
    }
}

// The sums of the lanes of `rows` accumulators, rowStride apart.
HWY_INLINE void SumAccumulators(const float* sums, std::size_t rowStride, std::size_t rows,
                                float* out) {
    const F32Tag d;
    std::size_t r = 0;
    for (; r + 8 <= rows; r += 8) {
        F32Vector vectors[8];
        for (std::size_t i = 0; i < 8; ++i)
            vectors[i] = hn::Load(d, sums + (r + i) * rowStride);
        SumLanesOfEight(d, vectors, out + r);
    }
    for (; r < rows; ++r)
        out[r] = hn::GetLane(hn::SumOfLanes(d, hn::Load(d, sums + r * rowStride)));
}

void StoreSums(const float* sums, std::size_t rows, std::size_t tokens, std::int64_t begin,
               float* out, std::int64_t outStride, bool accumulate) {
    const std::size_t lanes = hn::Lanes(F32Tag());
    for (std::size_t token = 0; token < tokens; ++token) {
        float* target = out + static_cast<std::int64_t>(token) * outStride + begin;
        float totals[kPanelRows];
        SumAccumulators(sums + token * lanes, kTokenBlock * lanes, rows, totals);
        for (std::size_t r = 0; r < rows; ++r)
            target[r] = accumulate ? target[r] + totals[r] : totals[r];
    }
}

void GemmPanel(const RowMajorWeights& w, std::int64_t begin, std::int64_t end, const float* packed,
               std::int64_t n, float* out, std::int64_t outStride, bool accumulate,
               GemmScratch& scratch) {
    const std::size_t lanes = hn::Lanes(F32Tag());
    const auto rows = static_cast<std::size_t>(end - begin);
    const std::size_t rowStride = kTokenBlock * lanes;
    scratch.panel.resize(static_cast<std::size_t>(cpu::packedSize(kPanelRows, w.columns)));
    scratch.accumulators.resize(kPanelRows * rowStride);
    float* sums = scratch.accumulators.data();
    WidenPanel(w, begin, rows, scratch.panel.data());
    for (std::int64_t first = 0; first < n; first += kTokenBlock) {
        const auto tokens = static_cast<std::size_t>(std::min(kTokenBlock, n - first));
        std::fill(sums, sums + rows * rowStride, 0.0F);
        const float* panel = scratch.panel.data();
        for (std::int64_t column = 0; column < w.columns; column += kColumnBlock) {
            const auto count = static_cast<std::size_t>(std::min(kColumnBlock, w.columns - column));
            const float* x = packed + column * n + first * kColumnBlock;
            for (std::size_t r = 0; r < rows; r += kStripRows)
                AccumulateStrip(panel + r * kColumnBlock, std::min(kStripRows, rows - r), x, count,
                                tokens, sums + r * rowStride, rowStride);
            panel += rows * kColumnBlock;
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
    for (std::int64_t column = 0; column < columns; column += kColumnBlock) {
        const std::int64_t count = std::min(kColumnBlock, columns - column);
        float* target = packed + column * n + row * kColumnBlock;
        std::copy_n(x + row * columns + column, count, target);
        std::fill(target + count, target + paddedCount(count), 0.0F);
    }
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
