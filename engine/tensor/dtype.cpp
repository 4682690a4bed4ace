#include "engine/tensor/dtype.h"

namespace qllama {
namespace {

struct DTypeFacts {
    DType dtype;
    std::string_view name;
    int sizeBytes;
    bool isFloat;
};

constexpr DTypeFacts kFacts[] = {
    {DType::F64, "f64", 8, true},    {DType::F32, "f32", 4, true},  {DType::F16, "f16", 2, true},
    {DType::BF16, "bf16", 2, true},  {DType::I64, "i64", 8, false}, {DType::I32, "i32", 4, false},
    {DType::I16, "i16", 2, false},   {DType::I8, "i8", 1, false},   {DType::U8, "u8", 1, false},
    {DType::Bool, "bool", 1, false},
};

const DTypeFacts& factsOf(DType dtype) {
    return kFacts[static_cast<std::size_t>(dtype)];
}

}  // namespace

int sizeOf(DType dtype) {
    return factsOf(dtype).sizeBytes;
}

std::string_view nameOf(DType dtype) {
    return factsOf(dtype).name;
}

bool isFloat(DType dtype) {
    return factsOf(dtype).isFloat;
}

float halfToFloat(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1FU;
    const std::uint32_t mantissa = bits & 0x3FFU;
    if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
    if (exponent != 0)
        return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
    // Zero and subnormals: mantissa * 2^-24 is exact in binary32.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
}

std::uint16_t floatToHalf(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U);
    if (magnitude >= 0x477FF000U) return static_cast<std::uint16_t>(sign | 0x7C00U);  // >= 65520
    if (magnitude < 0x38800000U) {
        // Below 2^-14: adding 0.5 lines the subnormal's bits up at the bottom, rounded by the FPU.
        const float aligned = std::bit_cast<float>(magnitude) + 0.5F;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(aligned) & 0x7FFU));
    }
    const std::uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
    return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

std::uint16_t floatToBfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
    return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace qllama
