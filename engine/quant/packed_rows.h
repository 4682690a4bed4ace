// Rows of 16-bit floats in fewer bits, without loss: what the two forms have in common. Weights for which a form
// has no bits are exceptions: they stand in a list with their columns, and their places are those of a weight
// that the list replaces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/quant/block_format.h"

namespace qllama {

constexpr std::int64_t kMostPackedColumns = 65536;  // an exception has room for

struct PackedException {
    std::uint16_t column = 0;
    std::uint16_t bits = 0;  // of the weight as in the file
};

// Rows that are trained need far fewer: a matrix with more has no use of being packed.
constexpr std::int64_t exceptionsARow(std::int64_t columns) {
    return (columns + 511) / 512;
}

struct PackedRow {
    float factor = 1;
    bool isWhole = true;  // false: an exception cannot be divided by the factor exactly
    std::vector<PackedException> exceptions;  // in the order of their columns
};

// Packs the bits of a row, no more than kMostPackedColumns, as `format` has them (PackedBf16 or PackedF16), into
// whole blocks at `row`.
void packRow(BlockFormat format, std::span<const std::uint16_t> bits, std::byte* row,
             PackedRow& packed);

// The bits of a weight that is no exception.
[[nodiscard]] std::uint16_t unpackWeight(BlockFormat format, const std::byte* row,
                                         std::int64_t column, float factor);

}  // namespace qllama
