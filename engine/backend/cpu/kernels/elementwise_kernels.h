// Row-wise steps of a layer: normalisation, gating, rotation, additions. All f32.
#pragma once

#include <cstdint>

namespace qllama::cpu {

// out = x / sqrt(mean(x^2) + epsilon) * gain, one row of `width`.
void rmsNormRow(const float* x, const float* gain, float epsilon, std::int64_t width, float* out);

// gate = gate / (1 + exp(-gate)) * up
void swigluRow(float* gate, const float* up, std::int64_t width);

// Rotates the pairs (2i, 2i+1) of `heads` heads of headDim by the angles whose (cos, sin) pairs
// are in `rotation` [headDim / 2, 2].
void ropeRow(float* row, const float* rotation, std::int64_t heads, std::int64_t headDim);

}  // namespace qllama::cpu
