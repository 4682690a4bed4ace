// Finds stop strings in a text that arrives in pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace qllama {

// Holds back text only while a stop string may be beginning. One thread.
class StopStringFilter {
public:
    explicit StopStringFilter(std::vector<std::string> stopStrings);  // empty ones are ignored

    // The text that can be shown now. After a stop string was found, found() is true, everything
    // before it has been given out and nothing more will be.
    std::string push(std::string_view text);
    // What is still held back, at the end of the text.
    std::string flush();
    [[nodiscard]] bool isHolding() const { return !m_held.empty(); }
    [[nodiscard]] bool found() const { return m_found; }

private:
    std::vector<std::string> m_stopStrings;
    std::string m_held;
    bool m_found = false;
};

}  // namespace qllama
