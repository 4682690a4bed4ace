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
    const int percent =
        static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(total));
    print(std::string(what) + "  " + std::to_string(percent) + " %");
}

// A compiler may take long, so it is named at once; and so is what comes after it.
void ProgressLine::showLoading(const LoadProgress& progress) {
    if (progress.compilingDevice.empty()) {
        if (progress.totalBytes <= 0) erase();
        show("Loading", progress.doneBytes, progress.totalBytes);
    } else if (m_enabled) {
        m_shownAt = {};
        print("Compiling the kernels of " + progress.compilingDevice);
    }
}

void ProgressLine::print(std::string_view line) {
    m_visible = true;
    std::fputs(("\r" + withoutControls(line) + "\x1b[K").c_str(), stderr);
}

void ProgressLine::erase() {
    if (!m_visible) return;
    m_visible = false;
    std::fputs("\r\x1b[K", stderr);
}

}  // namespace qllama
