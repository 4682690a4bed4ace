// Turns pieces of bytes into pieces of whole UTF-8 characters.
#pragma once

#include <string>
#include <string_view>

namespace qllama {

// Holds back the bytes of a character that is still incomplete and gives them out with its last
// byte. Bytes that can never become valid UTF-8 are passed through as they are, at once: nothing is
// lost or replaced here, so the pieces put together are the input. One thread.
class Utf8Stream {
public:
    std::string push(std::string_view bytes);
    // What is still held back (an incomplete character), at the end of the text.
    std::string flush();

private:
    std::string m_held;  // at most 3 bytes
};

// `bytes` with every maximal invalid sequence replaced by U+FFFD: for JSON and for the screen.
std::string toValidUtf8(std::string_view bytes);

}  // namespace qllama
