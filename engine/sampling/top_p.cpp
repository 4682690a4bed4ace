// Top-p: the most likely tokens stay, up to and including the one with which their probabilities
// together reach p. The probabilities are those among the tokens that came in.
#include <algorithm>

#include "engine/sampling/sampler_table.h"
#include "engine/sampling/softmax.h"

namespace qllama {
namespace {

constexpr std::string_view kKey = "top-p";

// How many tokens are ranked at first, and how much more each time they do not reach p: usually the
// first step is enough, and a full sort is what the last resort amounts to.
constexpr std::ptrdiff_t kFirstRanked = 64;
constexpr std::ptrdiff_t kGrowth = 4;

class TopP final : public Sampler {
public:
    explicit TopP(double mass) : m_mass(mass) {}

    void apply(TokenLogits& tokens, std::span<const TokenId>) override {
        const Softmax softmax(tokens);
        const double target = m_mass * softmax.total();
        collectPossible(tokens, softmax);
        double reached = 0;
        std::ptrdiff_t count = kFirstRanked;
        for (auto first = m_ranked.begin(); first != m_ranked.end(); count *= kGrowth) {
            const auto last = first + std::min(count, m_ranked.end() - first);
            if (last != m_ranked.end()) std::nth_element(first, last, m_ranked.end(), ranksBefore);
            std::sort(first, last, ranksBefore);
            for (; first != last; ++first) {
                reached += softmax.weight(first->logit);
                if (reached >= target) return keepUpTo(tokens, *first);
            }
        }
        keepUpTo(tokens, m_ranked.back());  // reached but for rounding
    }

private:
    // Tokens less likely than (1 - p) / n have less than 1 - p together, so the others reach p
    // without them: of a typical distribution that leaves few to rank. Half of that is taken, far
    // from where rounding could matter.
    void collectPossible(const TokenLogits& tokens, const Softmax& softmax) {
        const double share = 0.5 * (1 - m_mass) / static_cast<double>(tokens.size());
        const double threshold = softmax.logitOf(share);
        m_ranked.clear();
        for (const TokenLogit& entry : tokens)
            if (entry.logit >= threshold) m_ranked.push_back(entry);
    }

    double m_mass;
    TokenLogits m_ranked;  // scratch: the most likely first, as far as needed
};

constexpr SamplerParameter kParameters[] = {
    {.key = kKey,
     .label = "Top-p",
     .help = "Draws only among the most likely tokens whose probabilities together reach p. 1 "
             "means all.",
     .defaultValue = 0.95,
     .minimum = 0,
     .maximum = 1,
     .step = 0.01,
     .decimals = 2,
     .neutral = 1},
};

std::unique_ptr<Sampler> create(const SamplerSettings& settings) {
    const double mass = settings.value(kKey);
    if (mass >= 1) return nullptr;
    return std::make_unique<TopP>(mass);
}

}  // namespace

constinit const SamplerDescriptor kTopP{"top-p", kParameters, create};

}  // namespace qllama
