#include "engine/tokenizer/utf8_stream.h"

#include <cstddef>
#include <utility>

namespace qllama {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// What a lead byte promises: the length of its character, and the range of the byte that follows.
// That range is what excludes overlong forms, surrogates and values above U+10FFFF (Unicode,
// table 3-7); all later bytes are 80..BF. Length 0: not a lead byte.
struct Lead {
    std::size_t length = 0;
    unsigned char secondFirst = 0x80;
    unsigned char secondLast = 0xBF;
};

Lead leadOf(unsigned char byte) {
    if (byte < 0x80) return {1};
    if (byte < 0xC2) return {0};
    if (byte < 0xE0) return {2};
    if (byte == 0xE0) return {3, 0xA0, 0xBF};
    if (byte == 0xED) return {3, 0x80, 0x9F};
    if (byte < 0xF0) return {3};
    if (byte == 0xF0) return {4, 0x90, 0xBF};
    if (byte < 0xF4) return {4};
    if (byte == 0xF4) return {4, 0x80, 0x8F};
    return {0};
}

enum class Form { Valid, Incomplete, Invalid };

struct Sequence {
    std::size_t length;  // at least 1
    Form form;
};

// The character, or the maximal subpart of one, at the start of `bytes` (not empty). Incomplete:
// `bytes` ends before the character does, and more bytes could still make it valid.
Sequence firstSequence(std::string_view bytes) {
    const Lead lead = leadOf(static_cast<unsigned char>(bytes.front()));
    if (lead.length == 0) return {1, Form::Invalid};
    for (std::size_t index = 1; index < lead.length; ++index) {
        if (index == bytes.size()) return {index, Form::Incomplete};
        const auto byte = static_cast<unsigned char>(bytes[index]);
        const unsigned char first = index == 1 ? lead.secondFirst : 0x80;
        const unsigned char last = index == 1 ? lead.secondLast : 0xBF;
        if (byte < first || byte > last) return {index, Form::Invalid};
    }
    return {lead.length, Form::Valid};
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
    std::string text = std::exchange(m_held, {});
    text += bytes;
    for (std::size_t position = 0; position < text.size();) {
        const Sequence sequence = firstSequence(std::string_view(text).substr(position));
        if (sequence.form == Form::Incomplete) {  // runs to the end of the text by definition
            m_held = text.substr(position);
            text.resize(position);
            break;
        }
        position += sequence.length;
    }
    return text;
}

std::string Utf8Stream::flush() {
    return std::exchange(m_held, {});
}

std::string toValidUtf8(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    while (!bytes.empty()) {
        const Sequence sequence = firstSequence(bytes);
        text += sequence.form == Form::Valid ? bytes.substr(0, sequence.length) : kReplacement;
        bytes.remove_prefix(sequence.length);
    }
    return text;
}

}  // namespace qllama
