#include <algorithm>
#include <cassert>

#include "engine/sampling/sampler.h"
#include "engine/sampling/sampler_table.h"
#include "engine/sampling/softmax.h"

namespace qllama {
namespace {

// The first token at which the weights, added in order of id, exceed `uniform` of their sum.
// `weights`: scratch.
TokenId draw(const TokenLogits& tokens, double uniform, std::vector<double>& weights) {
    weights.resize(tokens.size());
    const float largest = largestLogit(tokens);
    double total = 0;
    for (std::size_t index = 0; index < tokens.size(); ++index)
        total += weights[index] = softmaxWeight(tokens[index].logit, largest);
    const double target = uniform * total;
    double reached = 0;
    TokenId lastPossible = tokens.front().token;  // if rounding lets the target slip past the end
    for (std::size_t index = 0; index < tokens.size(); ++index) {
        if (weights[index] == 0) continue;
        reached += weights[index];
        lastPossible = tokens[index].token;
        if (reached > target) break;
    }
    return lastPossible;
}

}  // namespace

struct SamplerChain::Impl {
    std::vector<std::unique_ptr<Sampler>> samplers;  // only those that do something
    RandomGenerator random;
    TokenLogits tokens;           // scratch
    TokenLogits best;             // scratch
    std::vector<double> weights;  // scratch

    explicit Impl(std::uint64_t seed) : random(seed) {}

    // Runs through the vocabulary once, keeping the best so far in order: cheap, because after the
    // first few tokens hardly one gets in.
    void findBest(std::size_t count) {
        best.clear();
        count = std::min(count, tokens.size());
        if (count == 0) return;
        for (const TokenLogit& entry : tokens) {
            if (best.size() == count) {
                if (!ranksBefore(entry, best.back())) continue;
                best.pop_back();
            }
            best.insert(std::upper_bound(best.begin(), best.end(), entry, ranksBefore), entry);
        }
    }

    [[nodiscard]] std::vector<Candidate> candidates(const Softmax& model) const {
        std::vector<Candidate> found;
        found.reserve(best.size());
        for (const TokenLogit& entry : best)
            found.push_back({entry.token, static_cast<float>(model.probability(entry.logit))});
        return found;
    }
};

SamplerChain::SamplerChain(const SamplerSettings& settings, std::uint64_t seed)
    : m_impl(std::make_unique<Impl>(seed)) {
    assert(settings.problem().empty());
    for (const SamplerDescriptor* descriptor : samplerTable())
        if (auto sampler = descriptor->create(settings))
            m_impl->samplers.push_back(std::move(sampler));
}

SamplerChain::~SamplerChain() = default;
SamplerChain::SamplerChain(SamplerChain&&) noexcept = default;
SamplerChain& SamplerChain::operator=(SamplerChain&&) noexcept = default;

SampledToken SamplerChain::sample(std::span<const float> logits, std::span<const TokenId> history,
                                  int candidateCount) {
    assert(!logits.empty());
    TokenLogits& tokens = m_impl->tokens;
    const double uniform = m_impl->random.uniform();
    SampledToken sampled;
    sampled.oddLogits = collectTokens(logits, tokens);
    if (tokens.empty()) return sampled;

    const Softmax model = Softmax::ofVocabulary(tokens);
    m_impl->findBest(static_cast<std::size_t>(std::max(candidateCount, 0)));
    sampled.candidates = m_impl->candidates(model);

    for (const auto& sampler : m_impl->samplers)
        sampler->apply(tokens, history);
    sampled.token = draw(tokens, uniform, m_impl->weights);
    const float logit = logits[static_cast<std::size_t>(sampled.token)];
    sampled.probability = static_cast<float>(model.probability(finiteLogit(logit)));
    return sampled;
}

}  // namespace qllama
