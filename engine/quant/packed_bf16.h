// bf16 weights in 12 bits each, without loss. Of the 256 exponents of bf16 sixteen neighbours cover all but
// about one weight of a row in ten thousand, and say which in 4 bits instead of 8.
//
// A row is a sequence of blocks of 32 columns, missing ones being zero bits; and a factor 2^k:
//
//   48 bytes: 32 fields of 12 bits from the lowest bit on: mantissa (7), code of the exponent (4), sign (1)
//             w = (-1)^sign * factor * 2^(code - 15) * (1 + mantissa / 128)
//
// What lies outside of the sixteen exponents, zeros too, is an exception, and its field is zero. A row of zeros
// has the factor zero and no exceptions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/quant/packed_rows.h"

namespace qllama {

constexpr std::int64_t kBf16FieldBits = 12;
constexpr std::int64_t kBf16BlockBytes = kBlockColumns * kBf16FieldBits / 8;

// For packRow() and unpackWeight() of packed_rows.h.
void packBf16Row(std::span<const std::uint16_t> bits, std::byte* fields, PackedRow& packed);
[[nodiscard]] std::uint16_t unpackBf16(const std::byte* fields, std::int64_t column, float factor);

}  // namespace qllama
