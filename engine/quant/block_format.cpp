#include "engine/quant/block_format.h"

#include "engine/quant/packed_bf16.h"
#include "engine/quant/packed_f16.h"

namespace qllama {
namespace {

constexpr BlockFormatInfo kFormats[] = {
    {BlockFormat::Q8, "q8", kTileRows * 2 + kTileRows* kBlockColumns, 0, false, false},
    {BlockFormat::Q4, "q4", kTileRows * 2 + kTileRows* kBlockColumns / 2, 0, true, false},
    {BlockFormat::PackedBf16, "packed", kTileRows* kBf16BlockBytes, 0, true, true},
    {BlockFormat::PackedF16, "packed", kTileRows* kF16BlockBytes, kF16Group, false, true},
};

constexpr std::size_t kQuantised = 2;  // that come first
static_assert(kFormats[kQuantised].format == BlockFormat::PackedBf16);

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
