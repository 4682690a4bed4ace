// Min-p: the tokens stay that are at least p times as likely as the most likely one.
#include <cmath>

#include "engine/sampling/sampler_table.h"

namespace qllama {
namespace {

constexpr std::string_view kKey = "min-p";

class MinP final : public Sampler {
public:
    explicit MinP(double fraction) : m_logFraction(std::log(fraction)) {}

    void apply(TokenLogits& tokens, std::span<const TokenId>) override {
        // A ratio of probabilities is a difference of logits: no softmax needed.
        const double threshold = largestLogit(tokens) + m_logFraction;
        std::erase_if(tokens,
                      [threshold](const TokenLogit& entry) { return entry.logit < threshold; });
    }

private:
    double m_logFraction;
};

constexpr SamplerParameter kParameters[] = {
    {.key = kKey,
     .label = "Min-p",
     .help = "Drops tokens less likely than p times the most likely one. 0 drops none.",
     .defaultValue = 0.05,
     .minimum = 0,
     .maximum = 1,
     .step = 0.01,
     .decimals = 2,
     .neutral = 0},
};

std::unique_ptr<Sampler> create(const SamplerSettings& settings) {
    const double fraction = settings.value(kKey);
    if (fraction <= 0) return nullptr;
    return std::make_unique<MinP>(fraction);
}

}  // namespace

constinit const SamplerDescriptor kMinP{"min-p", kParameters, create};

}  // namespace qllama
