#include "engine/session/random_weights.h"

#include <cassert>
#include <cmath>

namespace qllama {
namespace {

constexpr std::size_t kQuantiles = 65536;
constexpr std::uint64_t kPerDraw = 4;  // 16 bits of 64 choose a quantile

// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
// 2014) over a counter.
std::uint64_t draw(std::uint64_t seed, std::uint64_t counter) {
    std::uint64_t bits = seed + (counter + 1) * 0x9E3779B97F4A7C15U;
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9U;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBU;
    return bits ^ (bits >> 31);
}

// Where the standard normal distribution reaches (i + 1/2) / 65536, by Newton's method from the
// quantile before.
std::vector<float> standardQuantiles() {
    std::vector<float> values(kQuantiles);
    double x = -4.3;
    for (std::size_t i = 0; i < kQuantiles / 2; ++i) {
        const double wanted = (static_cast<double>(i) + 0.5) / static_cast<double>(kQuantiles);
        for (int step = 0; step < 8; ++step) {
            const double reached = 0.5 * std::erfc(-x / std::sqrt(2.0));
            const double density = std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
            const double change = (wanted - reached) / density;
            x += change;
            if (std::abs(change) < 1e-9) break;
        }
        values[i] = static_cast<float>(x);
        values[kQuantiles - 1 - i] = static_cast<float>(-x);
    }
    return values;
}

}  // namespace

NormalSeries::NormalSeries(std::uint64_t seed, double standardDeviation, DType dtype)
    : m_seed(draw(seed, 0)), m_quantiles(kQuantiles) {
    assert(dtype == DType::F16 || dtype == DType::BF16);
    const auto narrow = dtype == DType::F16 ? floatToHalf : floatToBfloat16;
    static const std::vector<float> standard = standardQuantiles();
    for (std::size_t i = 0; i < kQuantiles; ++i)
        m_quantiles[i] = narrow(standard[i] * static_cast<float>(standardDeviation));
}

void NormalSeries::fill(std::uint64_t first, std::span<std::uint16_t> out) const {
    std::size_t done = 0;
    const auto put = [&](std::uint64_t bits, std::uint64_t begin) {
        for (std::uint64_t lane = begin; lane < kPerDraw && done < out.size(); ++lane)
            out[done++] = m_quantiles[bits >> (16 * lane) & 0xFFFF];
    };
    std::uint64_t counter = first / kPerDraw;
    if (first % kPerDraw != 0) put(draw(m_seed, counter++), first % kPerDraw);
    for (; out.size() - done >= kPerDraw; done += kPerDraw) {
        const std::uint64_t bits = draw(m_seed, counter++);
        for (std::uint64_t lane = 0; lane < kPerDraw; ++lane)
            out[done + lane] = m_quantiles[bits >> (16 * lane) & 0xFFFF];
    }
    if (done < out.size()) put(draw(m_seed, counter), 0);
}

}  // namespace qllama
