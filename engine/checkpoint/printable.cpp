#include "engine/checkpoint/printable.h"

#include <cstddef>

namespace qllama {
namespace {

constexpr std::size_t kMaxPrinted = 120;
constexpr std::size_t kNamed = 5;  // of a list

// Length of the well-formed UTF-8 sequence at `position`, 0 when there is none (RFC 3629).
std::size_t sequenceLength(std::string_view text, std::size_t position) {
    const auto byteAt = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
    const unsigned char first = byteAt(position);
    if (first < 0x80) return 1;
    std::size_t length = 0;
    if (first >= 0xC2 && first <= 0xDF) length = 2;
    if (first >= 0xE0 && first <= 0xEF) length = 3;
    if (first >= 0xF0 && first <= 0xF4) length = 4;
    if (length == 0 || text.size() - position < length) return 0;
    for (std::size_t index = 1; index < length; ++index)
        if ((byteAt(position + index) & 0xC0U) != 0x80U) return 0;
    const unsigned char second = byteAt(position + 1);
    const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    const bool surrogate = first == 0xED && second > 0x9F;
    const bool beyond = first == 0xF4 && second > 0x8F;
    return overlong || surrogate || beyond ? 0 : length;
}

std::string escaped(unsigned char byte) {
    constexpr char kDigits[] = "0123456789abcdef";
    return {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 0xF]};
}

}  // namespace

std::string printable(std::string_view text) {
    std::string result;
    for (std::size_t position = 0; position < text.size();) {
        if (result.size() >= kMaxPrinted) return result + "...";
        const std::size_t length = sequenceLength(text, position);
        const auto byte = static_cast<unsigned char>(text[position]);
        if (length == 0 || byte < 0x20 || byte == 0x7F) {
            result += escaped(byte);
            ++position;
        } else {
            result += text.substr(position, length);
            position += length;
        }
    }
    return result;
}

bool isValidUtf8(std::string_view text) {
    for (std::size_t position = 0; position < text.size();) {
        const std::size_t length = sequenceLength(text, position);
        if (length == 0) return false;
        position += length;
    }
    return true;
}

void NameList::add(std::string_view name) {
    if (m_count++ >= kNamed) return;
    m_text += (m_text.empty() ? "\"" : ", \"") + printable(name) + "\"";
}

std::string NameList::text() const {
    return m_count > kNamed ? m_text + " and " + std::to_string(m_count - kNamed) + " more"
                            : m_text;
}

std::string countText(std::int64_t count, std::string_view singular) {
    return std::to_string(count) + " " + std::string(singular) + (count == 1 ? "" : "s");
}

}  // namespace qllama
