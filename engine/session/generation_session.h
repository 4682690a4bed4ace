// Prompt in, tokens out: tokenise, prefill what the KV cache does not hold yet, decode, sample.
#pragma once

#include <memory>
#include <stop_token>
#include <vector>

#include "engine/common/result.h"
#include "engine/session/generation_types.h"
#include "engine/session/model_loader.h"

namespace qllama {

// Called on the thread that runs generate().
class GenerationSink {
public:
    virtual ~GenerationSink() = default;
    virtual void promptStarted(std::int64_t tokenCount, std::uint64_t seed) = 0;
    // First with the tokens that are known from an earlier request.
    virtual void promptProgress(std::int64_t doneTokens, std::int64_t totalTokens) = 0;
    virtual void promptDone(const PromptStatistics& statistics) = 0;
    // At once, but with the next one or at the end where some of its text is held back: see TokenChunk.
    virtual void tokenReady(const TokenChunk& chunk) = 0;
    // A device failed and the model went on without it: see LoadRequest::mayLeaveDevice.
    virtual void modelMoved(const ModelInfo&) {}
    // After that, until the next promptDone() or tokenReady(): prompt and text so far are computed again.
    virtual void recomputeProgress(std::int64_t /*doneTokens*/, std::int64_t /*totalTokens*/) {}
};

// One session a model. One thread at a time; requests one after the other.
class GenerationSession {
public:
    explicit GenerationSession(std::unique_ptr<LoadedModel> model);
    ~GenerationSession();

    // Stop takes effect within one token, in prefill within one layer: the result then has reason
    // Cancelled and what was generated so far. Fails for a prompt that does not fit the context
    // (both numbers named), settings out of range or logits that are not finite; the session stays usable after any outcome.
    Result<GenerationResult> generate(const GenerationRequest& request, GenerationSink& sink,
                                      std::stop_token stop);

    // After generate(): the f32 logits that followed the last prompt token, [vocabularySize].
    [[nodiscard]] const std::vector<float>& promptLogits() const { return m_promptLogits; }

    [[nodiscard]] const LoadedModel& model() const { return *m_model; }
    [[nodiscard]] LoadedModel& model() { return *m_model; }

private:
    class Run;

    std::unique_ptr<LoadedModel> m_model;
    std::vector<TokenId> m_context;  // the tokens whose keys and values the cache holds
    std::vector<float> m_promptLogits;
};

}  // namespace qllama
