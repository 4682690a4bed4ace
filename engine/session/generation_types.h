// Plain values that travel between the front ends and the engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampling/sampler.h"
#include "engine/tokenizer/tokenizer.h"

namespace qllama {

struct GenerationRequest {
    std::uint64_t id = 0;  // chosen by the front end, comes back with every event
    std::string prompt;    // UTF-8, used byte for byte
    SamplerSettings sampler;
    std::optional<std::uint64_t> seed;  // empty: chosen at random and reported
    std::int64_t maxTokens = 256;  // 0: only evaluate the prompt; -1: until the context is full
    bool ignoreEos = false;
    std::vector<std::string> stopStrings;  // not part of the text; empty strings are ignored
    int candidateCount = 5;
};

enum class StopReason { EndOfText, Length, StopString, Cancelled, ContextFull };
std::string_view keyOf(StopReason reason);  // "end-of-text", "length", "stop", ...

// One generated token. `text` is what it adds to the text: empty while a character is incomplete or
// a stop string may be beginning; all texts together are the whole continuation. The end token, if
// sampled, is a chunk too. The last chunk has any text that was held back until then, for whatever
// reason the generation ends.
struct TokenChunk {
    TokenId token = 0;
    std::string text;  // whole characters; invalid bytes of the model appear as they are
    float probability = 0;
    std::vector<Candidate> candidates;
    std::vector<std::string> candidateTexts;  // the same tokens as text, for display
    // Wall time of this token: forward pass, sampling and decoding; the first one's is counted from
    // the request. No time counts that LoadRequest::mayLeaveDevice took to answer.
    double ms = 0;
};

struct PromptStatistics {
    std::vector<TokenId> tokens;
    std::int64_t reusedTokens = 0;  // found in the KV cache, not computed again
    double ms = 0;
    double tokensPerSecond = 0;  // of the computed ones
};

struct GenerationStatistics {
    std::uint64_t seed = 0;
    PromptStatistics prompt;
    std::int64_t tokenCount = 0;
    double msPerToken = 0;  // mean over the generated tokens after the first; 0 if there is none
    double tokensPerSecond = 0;
    double firstTokenMs = 0;  // from the request to the first token, prefill included
    std::int64_t contextUsed = 0;
    std::int64_t contextLength = 0;
    std::int64_t bytesPerToken = 0;
};

struct GenerationResult {
    StopReason reason = StopReason::Length;
    std::string text;  // the chunks' texts put together
    GenerationStatistics statistics;
};

}  // namespace qllama
