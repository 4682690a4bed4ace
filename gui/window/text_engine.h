// What the worker asks of an engine. SessionEngine is the real one; tests script their own, so that
// "stop in the middle of loading" needs neither a large file nor luck with the clock.
#pragma once

#include <stop_token>

#include "engine/common/result.h"
#include "engine/session/generation_session.h"
#include "engine/session/model_loader.h"

namespace qllama {

// One thread at a time. Calls may take long; stop makes them return soon.
class TextEngine {
public:
    virtual ~TextEngine() = default;

    // Replaces the model. On failure the one before may still be there: see hasModel().
    virtual Result<ModelInfo> load(const LoadRequest& request, const LoadProgressSink& progress,
                                   std::stop_token stop) = 0;
    virtual Result<GenerationResult> generate(const GenerationRequest& request,
                                              GenerationSink& sink, std::stop_token stop) = 0;
    virtual void unload() = 0;
    [[nodiscard]] virtual bool hasModel() const = 0;

    // How fast the devices of the model can read its weights, in GB/s (10^9). Takes a moment.
    virtual Result<double> measureBandwidth(std::stop_token stop) = 0;
};

}  // namespace qllama
