// Products of row-major weights (f32, f16, bf16) with f32 activations, dispatched to the best
// instruction set at run time.
//
// Contract: every element of the result is sum over k of w[row, k] * x[token, k], accumulated in
// one vector of f32 lanes in the order of k (lane = k modulo the vector length) and summed across
// lanes at the end. matvecRows and gemmPanel keep exactly this order, so one token alone and the
// same token in a batch, on any number of threads, give bit-identical results.
#pragma once

#include <cstdint>

#include "engine/common/aligned_vector.h"
#include "engine/tensor/dtype.h"

namespace qllama::cpu {

struct RowMajorWeights {
    DType dtype = DType::F32;    // F32, F16 or BF16
    const void* data = nullptr;  // aligned to the element size
    std::int64_t rows = 0;
    std::int64_t columns = 0;
};

// y[row] (= or +=) w[row, :] . x for row in [begin, end).
void matvecRows(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
                const float* x, float* y, bool accumulate);

// Working memory of one thread for gemmPanel: a panel of weights as f32, widened once for all tokens,
// and the accumulators.
struct GemmScratch {
    AlignedVector<float> panel;
    AlignedVector<float> accumulators;
};

// Sizes of the blocked product, chosen so that a column block of the panel, the accumulators and the
// activations they meet (64 + 132 + 264 KiB with AVX2) stay in a L2 cache of 512 KiB.
constexpr std::int64_t kPanelRows = 32;
constexpr std::int64_t kTokenBlock = 132;  // whole register tiles on every target
constexpr std::int64_t kColumnBlock = 512;

// Activations laid out for gemmPanel: [column block][token][kColumnBlock]. Left as rows, tokens a
// power of two apart would share a few sets of the cache.
[[nodiscard]] constexpr std::int64_t packedSize(std::int64_t n, std::int64_t columns) {
    return (columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock * n;
}
// Columns of a block that are read: whole vectors on every target, zero beyond the matrix.
[[nodiscard]] constexpr std::int64_t paddedCount(std::int64_t count) {
    return (count + 15) / 16 * 16;
}
void packRow(const float* x, std::int64_t columns, std::int64_t n, std::int64_t row, float* packed);

// out[token * outStride + row] (= or +=) w[row, :] . x[token, :] for row in [begin, end) with
// end - begin <= kPanelRows, token in [0, n). `packed` is x [n, columns] by packRow.
void gemmPanel(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
               const float* packed, std::int64_t n, float* out, std::int64_t outStride,
               bool accumulate, GemmScratch& scratch);

// out[0, count) = source[0, count) as f32.
void widen(DType dtype, const void* source, std::int64_t count, float* out);
// The other way, rounding to nearest even. dtype is F16 or BF16.
void narrow(DType dtype, const float* source, std::int64_t count, std::uint16_t* out);

}  // namespace qllama::cpu
