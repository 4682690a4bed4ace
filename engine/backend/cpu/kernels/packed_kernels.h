// Products of packed rows (quant/packed_rows.h) with f32 activations.
//
// Contract: those of row_kernels.h for the same finite weights, to the bit; of bf16 unless a sum or product is
// below the least normal f32 or close to the largest. A row's factor is a power of two, so that it changes no
// rounding, whether it comes first or last.
#pragma once

#include <cstdint>

#include "engine/quant/block_matrix.h"

namespace qllama::cpu {

// The most tokens that multiplyPacked takes, at least 1: for more, rows are better unpacked.
std::int64_t mostTokensPacked();

// out[token * outStride + row] (= or +=) w[row, :] . x[token, :] for row in [begin, end), token in [0, n);
// x is [n, columns].
void multiplyPacked(const BlockMatrix& weights, std::int64_t begin, std::int64_t end,
                    const float* x, std::int64_t n, float* out, std::int64_t outStride,
                    bool accumulate);

// out [end - begin, columns] = rows [begin, end).
void unpackRows(const BlockMatrix& weights, std::int64_t begin, std::int64_t end, float* out);

}  // namespace qllama::cpu
