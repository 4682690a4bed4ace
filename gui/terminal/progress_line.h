// "Loading 7B  45 %" on standard error, written over itself and erased afterwards.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "engine/model/weights.h"

namespace qllama {

// Shows nothing unless enabled, and then at most about ten lines a second. One thread.
class ProgressLine {
public:
    explicit ProgressLine(bool enabled) : m_enabled(enabled) {}
    ~ProgressLine() { erase(); }
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    void show(std::string_view what, std::int64_t done, std::int64_t total);
    void showLoading(const LoadProgress& progress);
    void erase();

private:
    void print(std::string_view line);

    bool m_enabled;
    bool m_visible = false;
    std::chrono::steady_clock::time_point m_shownAt{};
};

}  // namespace qllama
