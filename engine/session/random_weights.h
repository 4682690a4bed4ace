// Normally distributed f16 or bf16 numbers, made as fast as memory takes them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor/dtype.h"

namespace qllama {

// Number i of a series depends on the seed and on i alone, so threads may share the work in any
// way. Values are the 65536 quantiles of the distribution, each equally likely, rounded to
// the type.
class NormalSeries {
public:
    NormalSeries(std::uint64_t seed, double standardDeviation, DType dtype);

    // Numbers [first, first + out.size()). Any thread.
    void fill(std::uint64_t first, std::span<std::uint16_t> out) const;

private:
    std::uint64_t m_seed;
    std::vector<std::uint16_t> m_quantiles;
};

}  // namespace qllama
