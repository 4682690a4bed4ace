#include "gui/terminal/progress_line.h"

#include <cstdio>
#include <string>

#include "gui/terminal/output.h"

namespace qllama {
namespace {

constexpr std::chrono::milliseconds kInterval{100};

}  // namespace

void ProgressLine::show(std::string_view what, std::int64_t done, std::int64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (!m_enabled || total <= 0 || now - m_shownAt < kInterval) return;
    m_shownAt = now;
    m_visible = true;
    const int percent =
        static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(total));
    const std::string line =
        "\r" + withoutControls(what) + "  " + std::to_string(percent) + " %\x1b[K";
    std::fputs(line.c_str(), stderr);
}

void ProgressLine::erase() {
    if (!m_visible) return;
    m_visible = false;
    std::fputs("\r\x1b[K", stderr);
}

}  // namespace qllama
