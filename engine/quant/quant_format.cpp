#include "engine/quant/quant_format.h"

namespace qllama {
namespace {

constexpr QuantFormatInfo kFormats[] = {
    {QuantFormat::Q8, "q8", kTileRows * 2 + kTileRows* kBlockColumns, false},
    {QuantFormat::Q4, "q4", kTileRows * 2 + kTileRows* kBlockColumns / 2, true},
};

}  // namespace

std::span<const QuantFormatInfo> quantFormats() {
    return kFormats;
}

const QuantFormatInfo& infoOf(QuantFormat format) {
    return kFormats[static_cast<std::size_t>(format)];
}

}  // namespace qllama
