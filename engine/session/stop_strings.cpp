#include "engine/session/stop_strings.h"

#include <algorithm>
#include <utility>

namespace qllama {

StopStringFilter::StopStringFilter(std::vector<std::string> stopStrings)
    : m_stopStrings(std::move(stopStrings)) {
    std::erase_if(m_stopStrings, [](const std::string& text) { return text.empty(); });
}

std::string StopStringFilter::push(std::string_view text) {
    if (m_found) return {};
    m_held += text;
    std::size_t end = std::string::npos;
    for (const std::string& stop : m_stopStrings)
        end = std::min(end, m_held.find(stop));
    if (end != std::string::npos) {
        m_found = true;
        return std::exchange(m_held, {}).substr(0, end);
    }
    // The longest end of the text that begins a stop string stays behind.
    std::size_t kept = 0;
    for (const std::string& stop : m_stopStrings)
        for (std::size_t length = std::min(stop.size() - 1, m_held.size()); length > kept; --length)
            if (std::string_view(m_held).ends_with(std::string_view(stop).substr(0, length)))
                kept = length;
    const std::string shown = m_held.substr(0, m_held.size() - kept);
    m_held.erase(0, shown.size());
    return shown;
}

std::string StopStringFilter::flush() {
    return m_found ? std::string() : std::exchange(m_held, {});
}

}  // namespace qllama
