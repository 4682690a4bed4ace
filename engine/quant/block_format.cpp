#include "engine/quant/block_format.h"

#include "engine/quant/packed_rows.h"

namespace qllama {
namespace {

constexpr BlockFormatInfo kFormats[] = {
    {BlockFormat::Q8, "q8", kTileRows * 2 + kTileRows* kBlockColumns, false, false},
    {BlockFormat::Q4, "q4", kTileRows * 2 + kTileRows* kBlockColumns / 2, true, false},
    {BlockFormat::Packed, "packed", kTileRows* kPackedBlockBytes, true, true},
};

constexpr std::size_t kQuantised = 2;  // that come first
static_assert(kFormats[kQuantised].format == BlockFormat::Packed);

}  // namespace

std::span<const BlockFormatInfo> quantizedFormats() {
    return std::span(kFormats).first(kQuantised);
}

const BlockFormatInfo& infoOf(BlockFormat format) {
    return kFormats[static_cast<std::size_t>(format)];
}

std::optional<BlockFormat> formatFromNumber(std::uint64_t number) {
    if (number >= std::size(kFormats)) return std::nullopt;
    return static_cast<BlockFormat>(number);
}

}  // namespace qllama
