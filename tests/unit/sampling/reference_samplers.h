// The samplers again, slow and plain: sort everything, long double, no shortcut shared with the
// engine. What the documentation says, as directly as it can be written.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/sampling/sampler.h"

namespace qllama::test {

using Logits = std::map<TokenId, long double>;
using History = std::vector<TokenId>;

// One sampler by its name in the table, on `logits`; nullptr when there is no such sampler.
using Reference = std::function<Logits(Logits, const History&, const SamplerSettings&)>;
Reference referenceOf(const std::string& samplerName);

// Probabilities by token; sums to 1.
std::map<TokenId, long double> referenceSoftmax(const Logits& logits);

// The whole chain in the documented order.
Logits referenceChain(Logits logits, const History& history, const SamplerSettings& settings);

// The token at which the probabilities, added by id, exceed `uniform`.
TokenId referenceDraw(const Logits& logits, double uniform);

}  // namespace qllama::test
