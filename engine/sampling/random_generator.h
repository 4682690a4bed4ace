// The engine's own random numbers: the same on every platform, unlike the standard distributions.
#pragma once

#include <array>
#include <cstdint>

namespace qllama {

// Splitmix64 (Steele, Lea, Flood 2014): the next number after `state`, which it advances. Used to
// spread a seed over the larger state below.
std::uint64_t splitMix64(std::uint64_t& state);

// xoshiro256** 1.0 (Blackman, Vigna 2018). One thread.
class RandomGenerator {
public:
    using State = std::array<std::uint64_t, 4>;

    // The state is the first four numbers of splitMix64 from `seed`; any seed is good, 0 too.
    explicit RandomGenerator(std::uint64_t seed);
    explicit RandomGenerator(const State& state);  // not all zero

    std::uint64_t next();
    double uniform();  // [0, 1), 53 bits, uses one next()

private:
    State m_state;
};

}  // namespace qllama
