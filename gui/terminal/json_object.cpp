#include "gui/terminal/json_object.h"

#include <array>
#include <charconv>
#include <cmath>

#include "engine/tokenizer/utf8_stream.h"

namespace qllama {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

void appendEscaped(std::string& text, char character) {
    const auto code = static_cast<unsigned char>(character);
    switch (character) {
        case '"':
            text += "\\\"";
            return;
        case '\\':
            text += "\\\\";
            return;
        case '\n':
            text += "\\n";
            return;
        case '\r':
            text += "\\r";
            return;
        case '\t':
            text += "\\t";
            return;
        default:
            break;
    }
    if (code >= 0x20 && code != 0x7F) {
        text += character;
        return;
    }
    text += "\\u00";
    text += kHexDigits[code >> 4];
    text += kHexDigits[code & 0xF];
}

template <typename Number>
std::string shortestText(Number number) {
    if (!std::isfinite(number)) return "null";
    std::array<char, 64> digits;
    const auto [end, problem] = std::to_chars(digits.data(), digits.data() + digits.size(), number);
    return problem == std::errc() ? std::string(digits.data(), end) : "null";
}

}  // namespace

std::string jsonText(std::string_view text) {
    std::string quoted = "\"";
    for (const char character : toValidUtf8(text))
        appendEscaped(quoted, character);
    return quoted + "\"";
}

std::string jsonText(double number) {
    return shortestText(number);
}

std::string jsonText(float number) {
    return shortestText(number);
}

JsonObject& JsonObject::addText(std::string_view key, const std::string& value) {
    if (!m_members.empty()) m_members += ',';
    m_members += jsonText(key) + ":" + value;
    return *this;
}

}  // namespace qllama
