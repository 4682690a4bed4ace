// Samplers: each one file with a descriptor of its parameters; the panel in the window, the command
// line and the tests find them through samplerParameters().
//
// One token is chosen in this order, the one llama.cpp documents: the two repetition penalties,
// top-k, top-p, min-p, temperature, then a draw by the softmax of what is left. Each sampler sees
// what the one before it left: top-p, for one, counts probabilities among the survivors of top-k.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/random_generator.h"
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
    double neutral;  // the value at which it does nothing
};

// All parameters of all samplers, in the order in which the samplers act.
std::span<const SamplerParameter> samplerParameters();
const SamplerParameter* findSamplerParameter(std::string_view key);  // nullptr: no such key

// Values by key; a missing key has its default. Settings are equal when all values are.
class SamplerSettings {
public:
    [[nodiscard]] double value(std::string_view key) const;  // key must exist
    void set(std::string_view key, double value);            // key must exist; any value is taken
    // "" when all values are in range, else a sentence that names the parameter and its range.
    [[nodiscard]] std::string problem() const;
    friend bool operator==(const SamplerSettings&, const SamplerSettings&) = default;

private:
    std::map<std::string, double, std::less<>> m_values;  // only what is not the default
};

struct Candidate {
    TokenId token = 0;
    float probability = 0;  // of the model's own softmax at temperature 1, before any sampler
};

struct SampledToken {
    TokenId token = 0;
    float probability = 0;              // as in Candidate
    std::vector<Candidate> candidates;  // the most likely, best first; the chosen one may be there
    std::size_t oddLogits = 0;          // that were NaN or infinite
};

// The chain for one generation. One thread.
//
// Deterministic in (settings, seed, history, logits): nothing else, such as the number of threads
// or earlier calls with other logits, matters. Each call uses one random number, also when greedy.
// The numbers and the draw are the same on every platform; the weights they are compared with go
// through std::exp, so where two C libraries round it differently a token can differ in the rare
// case that the number falls between the two roundings.
//
// Odd logits: NaN and -infinity are never chosen, +infinity counts as the largest finite number.
// If nothing is left, the answer is token 0 with probability 0. Among equal logits the lower id
// ranks first everywhere.
class SamplerChain {
public:
    SamplerChain(const SamplerSettings& settings, std::uint64_t seed);  // settings without problem
    ~SamplerChain();
    SamplerChain(SamplerChain&&) noexcept;
    SamplerChain& operator=(SamplerChain&&) noexcept;

    // `logits`: [vocabulary], not empty. `history`: prompt and generated tokens so far; ids outside
    // the vocabulary are ignored. candidateCount: how many candidates to report, at most the
    // vocabulary. Costs some passes over the vocabulary, no full sort: well under a millisecond for
    // 32000 logits at the default settings.
    SampledToken sample(std::span<const float> logits, std::span<const TokenId> history,
                        int candidateCount);

private:
    struct Impl;
    std::unique_ptr<Impl> m_impl;
};

}  // namespace qllama
