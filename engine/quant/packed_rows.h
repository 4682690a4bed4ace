// bf16 weights in 12 bits each, without loss. Of the 256 exponents of bf16 sixteen neighbours cover all but
// about one weight of a row in ten thousand, and say which in 4 bits instead of 8.
//
// A row is a sequence of blocks of 32 columns, missing ones being zero bits; and a factor 2^k:
//
//   48 bytes: 32 fields of 12 bits from the lowest bit on: mantissa (7), code of the exponent (4), sign (1)
//             w = (-1)^sign * factor * 2^(code - 15) * (1 + mantissa / 128)
//
// What lies outside of the sixteen exponents, zeros too, is an exception: its column and bits stand in a list,
// and its field is zero. A row of zeros has the factor zero and no exceptions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/quant/block_format.h"

namespace qllama {

constexpr std::int64_t kPackedBits = 12;
constexpr std::int64_t kPackedBlockBytes = kBlockColumns * kPackedBits / 8;
constexpr std::int64_t kMostPackedColumns = 65536;  // an exception has room for

struct PackedException {
    std::uint16_t column = 0;
    std::uint16_t bits = 0;  // of the bf16
};

// Rows that are trained need far fewer: a matrix with more has no use of being packed.
constexpr std::int64_t exceptionsARow(std::int64_t columns) {
    return (columns + 511) / 512;
}

struct PackedRow {
    float factor = 0;
    bool isWhole = true;  // false: an exception cannot be divided by the factor exactly
    std::vector<PackedException> exceptions;  // in the order of their columns
};

// Packs the bits of a row into whole blocks at `fields`. No more than kMostPackedColumns.
void packRow(std::span<const std::uint16_t> bits, std::byte* fields, PackedRow& packed);

// The bits of a weight that is no exception.
[[nodiscard]] std::uint16_t unpackField(const std::byte* fields, std::int64_t column, float factor);

}  // namespace qllama
