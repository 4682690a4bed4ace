// Names and numbers out of files of unknown origin, made fit for an error message.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace qllama {

// At most 120 bytes of `text`; control characters and bytes that are not UTF-8 as \xNN.
[[nodiscard]] std::string printable(std::string_view text);

[[nodiscard]] bool isValidUtf8(std::string_view text);

// "1 file", "3 files"
[[nodiscard]] std::string countText(std::int64_t count, std::string_view singular);

}  // namespace qllama
