// Names and numbers out of files of unknown origin, made fit for an error message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace qllama {

// At most 120 bytes of `text`; control characters and bytes that are not UTF-8 as \xNN.
[[nodiscard]] std::string printable(std::string_view text);

[[nodiscard]] bool isValidUtf8(std::string_view text);

// Names in a sentence: the first few, made printable, and how many more there were. A damaged file may
// have a million of them.
class NameList {
public:
    void add(std::string_view name);
    [[nodiscard]] std::size_t count() const { return m_count; }
    [[nodiscard]] std::string text() const;  // "a", "b" and 3 more

private:
    std::string m_text;
    std::size_t m_count = 0;
};

// "1 file", "3 files"
[[nodiscard]] std::string countText(std::int64_t count, std::string_view singular);

}  // namespace qllama
