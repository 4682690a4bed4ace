// Multiply-adds in registers alone, to know the limit that prefill is measured against.
#pragma once

#include <cstdint>

namespace qllama::cpu {

// What the products of a precision are computed in.
enum class Arithmetic {
    F32,   // fused multiply-adds: f32, f16 and bf16 weights
    Int8,  // 8-bit products summed in 32 bits: q8 and q4
};

// Does `rounds` rounds of independent multiply-adds, as many side by side as registers hold; returns how
// many that were. No memory is touched.
std::int64_t multiplyAdd(Arithmetic arithmetic, std::int64_t rounds);

}  // namespace qllama::cpu
