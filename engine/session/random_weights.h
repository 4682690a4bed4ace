// Normally distributed f16 numbers, made as fast as memory takes them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace qllama {

// Number i of a series depends on the seed and on i alone, so threads may share the work in any
// way. Values are the 65536 quantiles of the distribution, each equally likely, rounded to f16.
class NormalSeries {
public:
    NormalSeries(std::uint64_t seed, double standardDeviation);

    // Numbers [first, first + out.size()). Any thread.
    void fill(std::uint64_t first, std::span<std::uint16_t> out) const;

private:
    std::uint64_t m_seed;
    std::vector<std::uint16_t> m_quantiles;
};

}  // namespace qllama
