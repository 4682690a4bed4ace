// Samplers: each one file with a descriptor of its parameters; the panel in the window, the command
// line and the tests find them through samplerParameters().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace qllama {

// One number that a user can set. `key` is the spelling of the command line without dashes
// ("top-p") and of the settings; label and help are English, translated by the window.
struct SamplerParameter {
    std::string_view key;
    std::string_view label;
    std::string_view help;
    double defaultValue;
    double minimum;  // refused below
    double maximum;  // refused above
    double step;     // of the control in the window
    int decimals;    // 0 = a whole number
    double neutral;  // the value at which it does nothing (NaN where there is none)
};

// All parameters of all samplers, in the order in which the samplers act.
std::span<const SamplerParameter> samplerParameters();
const SamplerParameter* findSamplerParameter(std::string_view key);  // nullptr: no such key

// Values by key; a missing key has its default.
class SamplerSettings {
public:
    [[nodiscard]] double value(std::string_view key) const;
    void set(std::string_view key, double value);  // key must exist
    // "" when all values are in range, else a sentence that names the parameter and its range.
    [[nodiscard]] std::string problem() const;
    friend bool operator==(const SamplerSettings&, const SamplerSettings&) = default;

private:
    std::map<std::string, double, std::less<>> m_values;
};

struct Candidate {
    TokenId token = 0;
    float probability = 0;  // of the model's own softmax at temperature 1, before any sampler
};

struct SampledToken {
    TokenId token = 0;
    float probability = 0;  // as in Candidate
    std::vector<Candidate>
        candidates;  // the most likely, best first (with the chosen one if in it)
};

// Own generator (xoshiro256**, seeded by splitmix64) and own draw: the same on every platform.
class RandomGenerator {
public:
    explicit RandomGenerator(std::uint64_t seed);
    std::uint64_t next();
    double uniform();  // [0, 1), 53 bits

private:
    std::uint64_t m_state[4];
};

// The chain for one generation. Deterministic in (settings, seed, history, logits). One thread.
class SamplerChain {
public:
    SamplerChain(const SamplerSettings& settings, std::uint64_t seed);
    ~SamplerChain();

    // `history`: prompt and generated tokens so far. candidateCount: how many runners-up to report.
    SampledToken sample(std::span<const float> logits, std::span<const TokenId> history,
                        int candidateCount);

private:
    struct Impl;
    std::unique_ptr<Impl> m_impl;
};

}  // namespace qllama
