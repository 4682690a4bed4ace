#include "engine/sampling/token_logits.h"

#include <algorithm>
#include <limits>

namespace qllama {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();

}  // namespace

std::size_t collectTokens(std::span<const float> logits, TokenLogits& tokens) {
    std::size_t infinite = 0;
    tokens.clear();
    tokens.reserve(logits.size());
    for (std::size_t index = 0; index < logits.size(); ++index) {
        const float logit = logits[index];
        infinite += logit > kLargest ? 1 : 0;
        if (logit >= -kLargest)  // false for NaN
            tokens.push_back({static_cast<TokenId>(index), std::min(logit, kLargest)});
    }
    return infinite + logits.size() - tokens.size();
}

void keepUpTo(TokenLogits& tokens, const TokenLogit& last) {
    // A copy: `last` may lie in what is being rearranged.
    std::erase_if(tokens, [last](const TokenLogit& entry) { return ranksBefore(last, entry); });
}

float largestLogit(const TokenLogits& tokens) {
    float largest = -kLargest;
    for (const TokenLogit& entry : tokens)
        largest = std::max(largest, entry.logit);
    return largest;
}

float finiteLogit(double logit) {
    return static_cast<float>(
        std::clamp(logit, -static_cast<double>(kLargest), static_cast<double>(kLargest)));
}

}  // namespace qllama
