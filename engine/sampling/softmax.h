// Softmax over the tokens in play, shifted by the largest logit so that nothing overflows, in f64.
#pragma once

#include <cmath>

#include "engine/sampling/token_logits.h"

namespace qllama {

// Unnormalised: 1 for the largest logit.
inline double softmaxWeight(float logit, double largest) {
    return std::exp(static_cast<double>(logit) - largest);
}

class Softmax {
public:
    explicit Softmax(const TokenLogits& tokens);  // at least one; summed in their order
    // A quarter of the time for a whole vocabulary, the total to within 1e-6 of its value: for
    // probabilities that are shown, not for decisions about what is drawn.
    static Softmax ofVocabulary(const TokenLogits& tokens);

    // probability() is weight() / total().
    [[nodiscard]] double weight(float logit) const { return softmaxWeight(logit, m_largest); }
    [[nodiscard]] double total() const { return m_total; }
    [[nodiscard]] double probability(float logit) const { return weight(logit) / m_total; }
    // The inverse of probability().
    [[nodiscard]] double logitOf(double probability) const {
        return m_largest + std::log(probability * m_total);
    }

private:
    Softmax(double largest, double total) : m_largest(largest), m_total(total) {}

    double m_largest;
    double m_total = 0;
};

}  // namespace qllama
