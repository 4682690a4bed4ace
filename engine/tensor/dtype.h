// Element types that a checkpoint may hold, and the scalar conversions between the float ones.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace qllama {

enum class DType : std::uint8_t { F64, F32, F16, BF16, I64, I32, I16, I8, U8, Bool };

[[nodiscard]] int sizeOf(DType dtype);               // bytes an element
[[nodiscard]] std::string_view nameOf(DType dtype);  // "f16", "bf16", ... as shown to the user
[[nodiscard]] bool isFloat(DType dtype);

// IEEE 754 binary16; round to nearest even, subnormals and infinities kept, NaN stays NaN.
[[nodiscard]] float halfToFloat(std::uint16_t bits);
[[nodiscard]] std::uint16_t floatToHalf(float value);

// bfloat16 is the upper half of a binary32; rounding to nearest even.
[[nodiscard]] inline float bfloat16ToFloat(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
[[nodiscard]] std::uint16_t floatToBfloat16(float value);

}  // namespace qllama
