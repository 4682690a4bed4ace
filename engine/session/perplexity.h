// How well a model predicts a text, and how far one precision is from another.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>

#include "engine/common/result.h"
#include "engine/session/model_loader.h"

namespace qllama {

// Against the same model in another precision, over the same predictions.
struct PrecisionComparison {
    std::string precision;        // of the reference
    double perplexity = 0;        // of the reference
    double meanKlDivergence = 0;  // of the model from the reference, in nats a token
    double topAgreement = 0;      // share of predictions with the same most likely token
};

struct PerplexityReport {
    double perplexity = 0;
    std::int64_t tokens = 0;  // predicted: every token of the text once
    std::int64_t windows = 0;
    std::int64_t windowLength = 0;  // in tokens: the model's context
    double ms = 0;
    std::optional<PrecisionComparison> comparison;
};

// The text is read in windows of the model's context length, each beginning with the BOS token and
// half a context after the one before; a token is predicted in the first window that has it, so
// from at least half a context but for those at the beginning. `reference` (may be null) must have the same
// vocabulary and a context no shorter. Leaves both contexts empty. `progress` gets predicted and all
// tokens. Fails with InvalidRequest for a text without tokens, and with Cancelled.
Result<PerplexityReport> measurePerplexity(
    LoadedModel& model, LoadedModel* reference, std::string_view text,
    const std::function<void(std::int64_t, std::int64_t)>& progress, std::stop_token stop);

}  // namespace qllama
