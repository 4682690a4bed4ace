// rllama's repetition penalty, as it documents it: every token is punished by penalty^occurrences,
// counted over the whole prompt and text. Made sign-aware: a positive logit is multiplied, a
// negative one divided, so that a penalty below 1 discourages both.
#include <cmath>

#include "engine/sampling/sampler_table.h"

namespace qllama {
namespace {

constexpr std::string_view kKey = "repetition-penalty";

class RepetitionPenalty final : public Sampler {
public:
    explicit RepetitionPenalty(double penalty) : m_penalty(penalty) {}

    void apply(TokenLogits& tokens, std::span<const TokenId> history) override {
        m_counts.assign(static_cast<std::size_t>(tokens.back().token) + 1, 0);
        for (const TokenId token : history)
            if (token >= 0 && token <= tokens.back().token)
                ++m_counts[static_cast<std::size_t>(token)];
        for (TokenLogit& entry : tokens)
            if (const auto count = m_counts[static_cast<std::size_t>(entry.token)]; count != 0)
                punish(entry, static_cast<double>(count));
    }

private:
    void punish(TokenLogit& entry, double occurrences) const {
        const double factor = std::pow(m_penalty, occurrences);
        const double logit = entry.logit;
        if (logit != 0) entry.logit = finiteLogit(logit > 0 ? logit * factor : logit / factor);
    }

    double m_penalty;
    std::vector<std::int64_t> m_counts;  // scratch: occurrences by token id
};

constexpr SamplerParameter kParameters[] = {
    {.key = kKey,
     .label = "Repetition penalty (rllama)",
     .help = "Multiplies a token's score once for each time it has occurred in the prompt and the "
             "text. Below 1 discourages repetition, 1 does nothing.",
     .defaultValue = 1.0,
     .minimum = 0.01,
     .maximum = 2.0,
     .step = 0.01,
     .decimals = 2,
     .neutral = 1.0},
};

std::unique_ptr<Sampler> create(const SamplerSettings& settings) {
    const double penalty = settings.value(kKey);
    if (penalty == 1) return nullptr;
    return std::make_unique<RepetitionPenalty>(penalty);
}

}  // namespace

constinit const SamplerDescriptor kRepetitionPenalty{"repetition-penalty", kParameters, create};

}  // namespace qllama
