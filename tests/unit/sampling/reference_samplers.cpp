#include "reference_samplers.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace qllama::test {
namespace {

// Token ids, the most likely first.
std::vector<TokenId> ranking(const Logits& logits) {
    std::vector<TokenId> tokens;
    for (const auto& [token, logit] : logits)
        tokens.push_back(token);
    std::stable_sort(tokens.begin(), tokens.end(),
                     [&](TokenId a, TokenId b) { return logits.at(a) > logits.at(b); });
    return tokens;
}

Logits only(const Logits& logits, const std::vector<TokenId>& kept) {
    Logits result;
    for (const TokenId token : kept)
        result[token] = logits.at(token);
    return result;
}

Logits repetitionPenalty(Logits logits, const History& history, const SamplerSettings& settings) {
    // One occurrence after the other, exactly as "logit * penalty^occurrences" unfolds.
    const long double penalty = settings.value("repetition-penalty");
    for (const TokenId token : history) {
        const auto found = logits.find(token);
        if (found == logits.end()) continue;
        if (found->second > 0)
            found->second *= penalty;
        else
            found->second /= penalty;
    }
    for (auto& [token, logit] : logits)
        logit = static_cast<float>(logit);  // logits are f32
    return logits;
}

Logits repeatPenalty(Logits logits, const History& history, const SamplerSettings& settings) {
    const long double penalty = settings.value("repeat-penalty");
    const double window = settings.value("repeat-window");
    std::set<TokenId> recent;
    for (std::size_t back = 0; back < history.size(); ++back)
        if (window < 0 || static_cast<double>(back) < window)
            recent.insert(history[history.size() - 1 - back]);
    for (auto& [token, logit] : logits) {
        if (recent.count(token) == 0) continue;
        logit = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
    }
    return logits;
}

Logits topK(Logits logits, const History&, const SamplerSettings& settings) {
    const auto count = static_cast<std::size_t>(settings.value("top-k"));
    std::vector<TokenId> tokens = ranking(logits);
    if (count > 0 && count < tokens.size()) tokens.resize(count);
    return only(logits, tokens);
}

Logits topP(Logits logits, const History&, const SamplerSettings& settings) {
    const long double wanted = settings.value("top-p");
    if (wanted >= 1) return logits;
    const auto probabilities = referenceSoftmax(logits);
    std::vector<TokenId> kept;
    long double reached = 0;
    for (const TokenId token : ranking(logits)) {
        kept.push_back(token);
        reached += probabilities.at(token);
        if (reached >= wanted) break;
    }
    return only(logits, kept);
}

Logits minP(Logits logits, const History&, const SamplerSettings& settings) {
    const long double fraction = settings.value("min-p");
    const auto probabilities = referenceSoftmax(logits);
    const long double best = probabilities.at(ranking(logits).front());
    std::vector<TokenId> kept;
    for (const auto& [token, probability] : probabilities)
        if (probability >= best * fraction * (1 - 1e-15L)) kept.push_back(token);
    return only(logits, kept);
}

Logits temperature(Logits logits, const History&, const SamplerSettings& settings) {
    const long double divisor = settings.value("temperature");
    if (divisor <= 0) return only(logits, {ranking(logits).front()});
    for (auto& [token, logit] : logits)
        logit /= divisor;
    return logits;
}

}  // namespace

Reference referenceOf(const std::string& samplerName) {
    if (samplerName == "repetition-penalty") return repetitionPenalty;
    if (samplerName == "repeat-penalty") return repeatPenalty;
    if (samplerName == "top-k") return topK;
    if (samplerName == "top-p") return topP;
    if (samplerName == "min-p") return minP;
    if (samplerName == "temperature") return temperature;
    return nullptr;
}

std::map<TokenId, long double> referenceSoftmax(const Logits& logits) {
    const long double largest = logits.at(ranking(logits).front());
    long double sum = 0;
    for (const auto& [token, logit] : logits)
        sum += std::exp(logit - largest);
    std::map<TokenId, long double> probabilities;
    for (const auto& [token, logit] : logits)
        probabilities[token] = std::exp(logit - largest) / sum;
    return probabilities;
}

Logits referenceChain(Logits logits, const History& history, const SamplerSettings& settings) {
    for (const char* name :
         {"repetition-penalty", "repeat-penalty", "top-k", "top-p", "min-p", "temperature"})
        logits = referenceOf(name)(logits, history, settings);
    return logits;
}

TokenId referenceDraw(const Logits& logits, double uniform) {
    long double reached = 0;
    for (const auto& [token, probability] : referenceSoftmax(logits)) {
        reached += probability;
        if (reached > uniform) return token;
    }
    return logits.rbegin()->first;
}

}  // namespace qllama::test
