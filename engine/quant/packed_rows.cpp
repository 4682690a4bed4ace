#include "engine/quant/packed_rows.h"

#include <cassert>

#include "engine/quant/packed_bf16.h"
#include "engine/quant/packed_f16.h"

namespace qllama {

void packRow(BlockFormat format, std::span<const std::uint16_t> bits, std::byte* row,
             PackedRow& packed) {
    assert(static_cast<std::int64_t>(bits.size()) <= kMostPackedColumns);
    packed.factor = 1;
    packed.isWhole = true;
    packed.exceptions.clear();
    if (format == BlockFormat::PackedBf16)
        packBf16Row(bits, row, packed);
    else
        packF16Row(bits, row, packed);
}

std::uint16_t unpackWeight(BlockFormat format, const std::byte* row, std::int64_t column,
                           float factor) {
    return format == BlockFormat::PackedBf16 ? unpackBf16(row, column, factor)
                                             : unpackF16(row, column);
}

}  // namespace qllama
