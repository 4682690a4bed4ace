#include "engine/quant/quant_format.h"

#include "engine/quant/packed_rows.h"

namespace qllama {
namespace {

constexpr QuantFormatInfo kFormats[] = {
    {QuantFormat::Q8, "q8", kTileRows * 2 + kTileRows* kBlockColumns, false, false},
    {QuantFormat::Q4, "q4", kTileRows * 2 + kTileRows* kBlockColumns / 2, true, false},
    {QuantFormat::Packed, "packed", kTileRows* kPackedBlockBytes, true, true},
};

constexpr std::size_t kQuantised = 2;  // that come first
static_assert(kFormats[kQuantised].format == QuantFormat::Packed);

}  // namespace

std::span<const QuantFormatInfo> quantFormats() {
    return std::span(kFormats).first(kQuantised);
}

const QuantFormatInfo& infoOf(QuantFormat format) {
    return kFormats[static_cast<std::size_t>(format)];
}

std::optional<QuantFormat> formatFromNumber(std::uint64_t number) {
    if (number >= std::size(kFormats)) return std::nullopt;
    return static_cast<QuantFormat>(number);
}

}  // namespace qllama
