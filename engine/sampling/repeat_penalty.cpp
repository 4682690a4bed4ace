// llama.cpp's repeat penalty: every token that occurs among the last N is punished once, however
// often it occurs: a positive logit is divided, another multiplied, so above 1 discourages.
#include "engine/sampling/sampler_table.h"

namespace qllama {
namespace {

constexpr std::string_view kPenaltyKey = "repeat-penalty";
constexpr std::string_view kWindowKey = "repeat-window";

class RepeatPenalty final : public Sampler {
public:
    // window: how many of the last tokens count, -1 for all.
    RepeatPenalty(double penalty, std::int64_t window) : m_penalty(penalty), m_window(window) {}

    void apply(TokenLogits& tokens, std::span<const TokenId> history) override {
        const bool wholeHistory =
            m_window < 0 || static_cast<std::uint64_t>(m_window) >= history.size();
        if (!wholeHistory) history = history.last(static_cast<std::size_t>(m_window));
        m_seen.assign(static_cast<std::size_t>(tokens.back().token) + 1, false);
        for (const TokenId token : history)
            if (token >= 0 && token <= tokens.back().token)
                m_seen[static_cast<std::size_t>(token)] = true;
        for (TokenLogit& entry : tokens)
            if (m_seen[static_cast<std::size_t>(entry.token)]) punish(entry);
    }

private:
    void punish(TokenLogit& entry) const {
        const double logit = entry.logit;
        entry.logit = finiteLogit(logit > 0 ? logit / m_penalty : logit * m_penalty);
    }

    double m_penalty;
    std::int64_t m_window;
    std::vector<bool> m_seen;  // scratch: by token id
};

constexpr SamplerParameter kParameters[] = {
    {.key = kPenaltyKey,
     .label = "Repeat penalty (llama.cpp)",
     .help = "Divides the score of tokens that occurred recently, once however often they did. "
             "Above 1 discourages repetition, 1 does nothing.",
     .defaultValue = 1.0,
     .minimum = 0.1,
     .maximum = 3.0,
     .step = 0.05,
     .decimals = 2,
     .neutral = 1.0},
    {.key = kWindowKey,
     .label = "Repeat window",
     .help = "How many of the last tokens the repeat penalty looks at. 0 turns it off, -1 looks at "
             "the whole context.",
     .defaultValue = 64,
     .minimum = -1,
     .maximum = 1'000'000,
     .step = 16,
     .decimals = 0,
     .neutral = 0},
};

std::unique_ptr<Sampler> create(const SamplerSettings& settings) {
    const double penalty = settings.value(kPenaltyKey);
    const auto window = static_cast<std::int64_t>(settings.value(kWindowKey));
    if (penalty == 1 || window == 0) return nullptr;
    return std::make_unique<RepeatPenalty>(penalty, window);
}

}  // namespace

constinit const SamplerDescriptor kRepeatPenalty{"repeat-penalty", kParameters, create};

}  // namespace qllama
