#include "engine/sampling/random_generator.h"

#include <bit>
#include <cassert>

namespace qllama {

std::uint64_t splitMix64(std::uint64_t& state) {
    state += 0x9E3779B97F4A7C15U;
    std::uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBU;
    return mixed ^ (mixed >> 31);
}

RandomGenerator::RandomGenerator(std::uint64_t seed) {
    for (std::uint64_t& word : m_state)
        word = splitMix64(seed);
}

RandomGenerator::RandomGenerator(const State& state) : m_state(state) {
    assert(state != State{});
}

std::uint64_t RandomGenerator::next() {
    auto& [a, b, c, d] = m_state;
    const std::uint64_t result = std::rotl(b * 5, 7) * 9;
    const std::uint64_t shifted = b << 17;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = std::rotl(d, 45);
    return result;
}

double RandomGenerator::uniform() {
    return static_cast<double>(next() >> 11) * 0x1p-53;
}

}  // namespace qllama
