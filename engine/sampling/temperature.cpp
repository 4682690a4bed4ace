// Temperature: divides the logits, so that below 1 the likely tokens gain; at 0 only the most
// likely one stays (greedy).
#include <algorithm>

#include "engine/sampling/sampler_table.h"

namespace qllama {
namespace {

constexpr std::string_view kKey = "temperature";

class Greedy final : public Sampler {
public:
    void apply(TokenLogits& tokens, std::span<const TokenId>) override {
        tokens = {*std::min_element(tokens.begin(), tokens.end(), ranksBefore)};
    }
};

class Temperature final : public Sampler {
public:
    explicit Temperature(double temperature) : m_temperature(temperature) {}

    void apply(TokenLogits& tokens, std::span<const TokenId>) override {
        // Softmax does not mind a shift, and with the best at 0 a low temperature cannot overflow.
        const double largest = largestLogit(tokens);
        for (TokenLogit& entry : tokens)
            entry.logit = finiteLogit((entry.logit - largest) / m_temperature);
    }

private:
    double m_temperature;
};

constexpr SamplerParameter kParameters[] = {
    {.key = kKey,
     .label = "Temperature",
     .help = "How freely tokens are drawn: 0 always takes the most likely one, 1 is the model's "
             "own distribution, more is wilder.",
     .defaultValue = 0.8,
     .minimum = 0,
     .maximum = 5,
     .step = 0.05,
     .decimals = 2,
     .neutral = 1},
};

std::unique_ptr<Sampler> create(const SamplerSettings& settings) {
    const double temperature = settings.value(kKey);
    if (temperature == 1) return nullptr;
    if (temperature <= 0) return std::make_unique<Greedy>();
    return std::make_unique<Temperature>(temperature);
}

}  // namespace

constinit const SamplerDescriptor kTemperature{"temperature", kParameters, create};

}  // namespace qllama
