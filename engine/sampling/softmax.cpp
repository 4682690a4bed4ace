#include "engine/sampling/softmax.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstdint>

namespace qllama {
namespace {

// Four lanes are what every processor has; GCC and Clang make one instruction of each operation.
constexpr std::size_t kLanes = 4;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));

constexpr std::size_t kBlock = 64;     // summed in f32 before it goes into the f64 total
constexpr float kSmallest = -80.0F;    // e to this is nothing beside 1, and still a normal number
constexpr float kRounder = 0x1.8p23F;  // adding it leaves a whole number in the low bits

// e^x for x <= 0, to a few 1e-7 of its value: 2^n times the Taylor series, up to the seventh power,
// of what is left of x, which is at most half of ln 2 and leaves 5e-9 to the rest of the series.
Floats exponential(Floats x) {
    const Floats smallest = Floats{} + kSmallest;
    x = x < smallest ? smallest : x;
    const Floats rounded = x * 1.44269504F + kRounder;  // x / ln 2
    const Ints exponent = std::bit_cast<Ints>(rounded) << 23;
    const Floats n = rounded - kRounder;
    // ln 2 in two parts, the first with so few bits that n times it is exact.
    const Floats r = x - n * 0.693359375F + n * 2.12194440e-4F;
    Floats series = r * (1.0F / 5040) + 1.0F / 720;
    series = series * r + 1.0F / 120;
    series = series * r + 1.0F / 24;
    series = series * r + 1.0F / 6;
    series = series * r + 0.5F;
    series = series * r + 1.0F;
    series = series * r + 1.0F;
    return series * std::bit_cast<Floats>(exponent + (127 << 23));
}

double sumOfWeights(const TokenLogits& tokens, float largest) {
    double total = 0;
    std::array<float, kBlock> below;  // the largest
    for (std::size_t first = 0; first < tokens.size(); first += kBlock) {
        const std::size_t count = std::min(kBlock, tokens.size() - first);
        for (std::size_t index = 0; index < count; ++index)
            below[index] = tokens[first + index].logit - largest;
        Floats sum{};
        std::size_t index = 0;
        for (; index + kLanes <= count; index += kLanes)
            sum += exponential(
                Floats{below[index], below[index + 1], below[index + 2], below[index + 3]});
        for (; index < count; ++index)
            total += softmaxWeight(below[index], 0);
        total += static_cast<double>(sum[0] + sum[1]) + static_cast<double>(sum[2] + sum[3]);
    }
    return total;
}

}  // namespace

Softmax::Softmax(const TokenLogits& tokens) : m_largest(largestLogit(tokens)) {
    assert(!tokens.empty());
    for (const TokenLogit& entry : tokens)
        m_total += weight(entry.logit);
}

Softmax Softmax::ofVocabulary(const TokenLogits& tokens) {
    assert(!tokens.empty());
    const float largest = largestLogit(tokens);
    return {largest, sumOfWeights(tokens, largest)};
}

}  // namespace qllama
