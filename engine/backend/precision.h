// The forms in which a backend may keep the weights. One line here and one row in the table of
// precision.cpp for the next one.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace qllama {

enum class Precision {
    Source,  // as in the file: f16, bf16 and f32 in place, f64 narrowed to f32
    F32,
    F16,
};

struct PrecisionInfo {
    Precision precision;
    std::string_view key;    // on the command line and in settings
    std::string_view label;  // in the window
    std::string_view help;
};

std::span<const PrecisionInfo> precisions();
std::string_view keyOf(Precision precision);
std::optional<Precision> precisionFromKey(std::string_view key);

}  // namespace qllama
