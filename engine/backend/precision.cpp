#include "engine/backend/precision.h"

namespace qllama {
namespace {

constexpr PrecisionInfo kPrecisions[] = {
    {Precision::Source, "source", "As in the file",
     "The weights are used where they lie in the file, without a copy."},
    {Precision::F32, "f32", "32-bit float",
     "Widened to 32 bits while loading; needs the most memory."},
    {Precision::F16, "f16", "16-bit float", "Rounded to 16 bits while loading."},
};

}  // namespace

std::span<const PrecisionInfo> precisions() {
    return kPrecisions;
}

std::string_view keyOf(Precision precision) {
    for (const PrecisionInfo& info : kPrecisions)
        if (info.precision == precision) return info.key;
    return "?";
}

std::optional<Precision> precisionFromKey(std::string_view key) {
    for (const PrecisionInfo& info : kPrecisions)
        if (info.key == key) return info.precision;
    return std::nullopt;
}

}  // namespace qllama
