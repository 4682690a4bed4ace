// The engine room behind the window: one model, one session.
#pragma once

#include <memory>

#include "gui/window/text_engine.h"

namespace qllama {

class SessionEngine final : public TextEngine {
public:
    // Reads the new model's directory, sizes and tokenizer and plans where its layers go before the
    // old model is given up, so that a damaged file or a device without room costs the user
    // nothing; the weights of two models are never in memory together.
    Result<ModelInfo> load(const LoadRequest& request, const LoadProgressSink& progress,
                           std::stop_token stop) override;
    Result<GenerationResult> generate(const GenerationRequest& request, GenerationSink& sink,
                                      std::stop_token stop) override;
    void unload() override;
    [[nodiscard]] bool hasModel() const override { return m_session != nullptr; }

    Result<double> measureBandwidth(std::stop_token stop) override;

private:
    std::unique_ptr<GenerationSession> m_session;
};

}  // namespace qllama
