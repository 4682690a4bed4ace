// Products of row-major weights (f32, f16, bf16) with f32 activations, dispatched to the best
// instruction set at run time.
//
// Contract: every element of the result is sum over k of w[row, k] * x[token, k], accumulated in
// one vector of f32 lanes in the order of k (lane = k modulo the vector length) and summed across
// lanes at the end. All products here keep exactly this order, so one token alone and the
// same token in a batch, on any number of threads, give bit-identical results.
#pragma once

#include <cstdint>

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

// out[token * outStride + row] (= or +=) w[row, :] . x[token, :] for row in [begin, end), token in
// [0, n); x is [n, columns]. See panel_kernels.h for many tokens.
void gemmRows(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end, const float* x,
              std::int64_t n, float* out, std::int64_t outStride, bool accumulate);

// out[0, count) = source[0, count) as f32.
void widen(DType dtype, const void* source, std::int64_t count, float* out);
// The other way, rounding to nearest even. dtype is F16 or BF16.
void narrow(DType dtype, const float* source, std::int64_t count, std::uint16_t* out);

}  // namespace qllama::cpu
