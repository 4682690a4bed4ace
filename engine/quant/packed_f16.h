// f16 weights in 15 bits each, without loss: below 2, as weights are, the highest bit of the exponent is zero.
//
// A row is a sequence of blocks of 32 columns, missing ones being zero; each takes 64 bytes, except for the last
// of every 16, which takes none:
//
//   32 words: the f16, in whose bit 14 (the highest of the exponent) block i of 16 holds a bit of the weight
//             at that place of the last: i < 14: bit i of its exponent and mantissa, i = 14: its sign
//
// Blocks at the end of a row that are not 16 hold zeros there. Weights of 2 and more, infinities and NaN are
// exceptions, with words of zero. There are no factors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/quant/packed_rows.h"

namespace qllama {

constexpr std::int64_t kF16BlockBytes = kBlockColumns * 2;
constexpr std::int64_t kF16Group = 16;  // blocks, the last of which lies in the others
constexpr std::uint16_t kF16SpareBit = 0x4000;

// For packRow() and unpackWeight() of packed_rows.h.
void packF16Row(std::span<const std::uint16_t> bits, std::byte* row, PackedRow& packed);
[[nodiscard]] std::uint16_t unpackF16(const std::byte* row, std::int64_t column);

}  // namespace qllama
