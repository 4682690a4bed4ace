// What a sampler works on: the tokens that are still in play, with their logits.
#pragma once

#include <span>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace qllama {

struct TokenLogit {
    TokenId token;
    float logit;
};

// Never empty, all logits finite, in ascending order of token id. Samplers keep it so: they find
// which tokens stay and drop the others in place. The fixed order makes the draw independent of how
// a standard library selects and sorts.
using TokenLogits = std::vector<TokenLogit>;

// The total order of "more likely": higher logit, among equals the lower id.
inline bool ranksBefore(const TokenLogit& left, const TokenLogit& right) {
    return left.logit != right.logit ? left.logit > right.logit : left.token < right.token;
}

// The tokens with a logit above -infinity (NaN counts as -infinity; +infinity becomes the largest
// float). Unlike the others, may leave `tokens` empty. Returns how many logits were not finite.
std::size_t collectTokens(std::span<const float> logits, TokenLogits& tokens);

// Drops what ranks after `last`.
void keepUpTo(TokenLogits& tokens, const TokenLogit& last);

float largestLogit(const TokenLogits& tokens);

// `logit` brought into the range of finite floats.
float finiteLogit(double logit);

}  // namespace qllama
