// How much memory this program has in use.
#pragma once

#include <cstdint>
#include <optional>

namespace qllama {

// Resident bytes, those of mapped model files included; empty where the system does not say.
std::optional<std::int64_t> residentBytes();

}  // namespace qllama
