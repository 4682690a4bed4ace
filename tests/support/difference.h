// How far two results are apart.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

namespace qllama::test {

// The largest difference of two elements; infinite for results of different sizes, for none, and where
// one is not a number.
inline float largestDifference(std::span<const float> a, std::span<const float> b) {
    constexpr float kNoBound = std::numeric_limits<float>::infinity();
    if (a.size() != b.size() || a.empty()) return kNoBound;
    float largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const float difference = std::abs(a[i] - b[i]);
        if (std::isnan(difference)) return kNoBound;
        largest = std::max(largest, difference);
    }
    return largest;
}

}  // namespace qllama::test
