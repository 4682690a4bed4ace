// Pearson's test of observed counts against expected probabilities, with a computed bound.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace qllama::test {

// The value that a chi-square variable with so many degrees of freedom exceeds once in a million
// times (Wilson and Hilferty's approximation; 4.7534 is the normal quantile of 1 - 1e-6).
inline double chiSquareBound(int degreesOfFreedom) {
    const double scale = 2.0 / (9.0 * degreesOfFreedom);
    return degreesOfFreedom * std::pow(1 - scale + 4.7534 * std::sqrt(scale), 3);
}

// Infinite when something occurred that has probability 0.
inline double chiSquare(const std::vector<std::int64_t>& counts,
                        const std::vector<double>& probabilities) {
    double total = 0;
    for (const std::int64_t count : counts)
        total += static_cast<double>(count);
    double sum = 0;
    for (std::size_t index = 0; index < counts.size(); ++index) {
        const double expected = total * probabilities[index];
        const double difference = static_cast<double>(counts[index]) - expected;
        if (difference != 0) sum += difference * difference / expected;
    }
    return sum;
}

inline int possibleCount(const std::vector<double>& probabilities) {
    int count = 0;
    for (const double probability : probabilities)
        count += probability > 0 ? 1 : 0;
    return count;
}

}  // namespace qllama::test
