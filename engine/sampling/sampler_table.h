// The interface of one sampler, and the table of all of them. A new sampler is one file with a
// descriptor, declared here, and one line in sampler_table.cpp.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "engine/sampling/sampler.h"
#include "engine/sampling/token_logits.h"

namespace qllama {

// One step of the chain, with its settings. One thread; may keep scratch memory between calls, but
// no state that changes its result.
class Sampler {
public:
    virtual ~Sampler() = default;
    // Changes or drops entries of `tokens` (see TokenLogits for what must hold afterwards).
    // `history`: prompt and generated tokens so far, any ids.
    virtual void apply(TokenLogits& tokens, std::span<const TokenId> history) = 0;
};

struct SamplerDescriptor {
    std::string_view name;
    std::span<const SamplerParameter> parameters;
    // nullptr when these settings make the sampler do nothing.
    std::unique_ptr<Sampler> (*create)(const SamplerSettings& settings);
};

extern const SamplerDescriptor kRepetitionPenalty;
extern const SamplerDescriptor kRepeatPenalty;
extern const SamplerDescriptor kTopK;
extern const SamplerDescriptor kTopP;
extern const SamplerDescriptor kMinP;
extern const SamplerDescriptor kTemperature;

// In the order in which they act.
std::span<const SamplerDescriptor* const> samplerTable();

}  // namespace qllama
