// Turns pieces of bytes into pieces of whole UTF-8 characters.
#pragma once

#include <string>
#include <string_view>

namespace qllama {

// Holds back the bytes of a character that is still incomplete and gives them out with its last
// byte. Bytes that can never become valid UTF-8 (a lone continuation byte, an overlong form, half
// of a surrogate pair, anything above U+10FFFF) are passed through as they are, at once: nothing is
// lost or replaced here, so the pieces put together are the input. One thread.
class Utf8Stream {
public:
    std::string push(std::string_view bytes);
    // What is still held back (an incomplete character), at the end of the text. The stream is
    // then as new.
    std::string flush();
    [[nodiscard]] bool isHolding() const { return !m_held.empty(); }

private:
    std::string m_held;  // at most 3 bytes
};

// `bytes` with every maximal invalid sequence replaced by one U+FFFD: for JSON and for the screen.
// "Maximal" as Unicode recommends (chapter 3, "U+FFFD Substitution of Maximal Subparts") and web
// browsers do: the longest beginning of a valid character counts as one, other bytes one each.
std::string toValidUtf8(std::string_view bytes);

}  // namespace qllama
