// An engine whose every step a test decides: it can wait until it is stopped, fail, or throw.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <utility>

#include "gui/window/text_engine.h"

namespace qllama {

// Blocks until stop is requested: the middle of a long computation, without a clock.
inline void waitForStop(const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait(lock, stop, [] { return false; });
}

inline TokenChunk chunkOf(std::string text, float probability = 0.5F, double ms = 2) {
    TokenChunk chunk;
    chunk.token = static_cast<TokenId>(text.size());
    chunk.text = std::move(text);
    chunk.probability = probability;
    chunk.candidates = {{chunk.token, probability}, {7, 1 - probability}};
    chunk.candidateTexts = {chunk.text, " other"};
    chunk.ms = ms;
    return chunk;
}

class ScriptedEngine final : public TextEngine {
public:
    using Load = std::function<Result<ModelInfo>(const LoadRequest&, const LoadProgressSink&,
                                                 const std::stop_token&)>;
    using Generate = std::function<Result<GenerationResult>(
        const GenerationRequest&, GenerationSink&, const std::stop_token&)>;

    struct Script {
        Load load = [](const LoadRequest& request, const LoadProgressSink& progress,
                       const std::stop_token&) -> Result<ModelInfo> {
            progress({1, 1});
            return modelInfo(request);
        };
        Generate generate = [](const GenerationRequest&, GenerationSink&,
                               const std::stop_token&) -> Result<GenerationResult> {
            return GenerationResult{};
        };
        bool keepsModelOnFailure = false;
        double bandwidthGbPerSecond = 50;
        std::function<Result<double>(const std::stop_token&)> measure;  // instead of that figure
    };

    explicit ScriptedEngine(std::shared_ptr<Script> script) : m_script(std::move(script)) {}

    static ModelInfo modelInfo(const LoadRequest& request) {
        ModelInfo info;
        info.name = request.location.model.filename().string();
        info.path = request.location.model.string();
        info.precision = "f16";
        info.device.id = request.device;
        info.device.name = "Scripted processor";
        info.contextLength = request.contextLength.value_or(512);
        info.threadCount = 1;
        return info;
    }

    Result<ModelInfo> load(const LoadRequest& request, const LoadProgressSink& progress,
                           std::stop_token stop) override {
        if (!m_script->keepsModelOnFailure) m_loaded = false;
        auto result = m_script->load(request, progress, stop);
        if (result.ok()) m_loaded = true;
        return result;
    }
    Result<GenerationResult> generate(const GenerationRequest& request, GenerationSink& sink,
                                      std::stop_token stop) override {
        return m_script->generate(request, sink, stop);
    }
    void unload() override { m_loaded = false; }
    [[nodiscard]] bool hasModel() const override { return m_loaded; }
    Result<double> measureBandwidth(std::stop_token stop) override {
        if (m_script->measure) return m_script->measure(stop);
        return m_script->bandwidthGbPerSecond;
    }

private:
    std::shared_ptr<Script> m_script;
    bool m_loaded = false;
};

}  // namespace qllama
