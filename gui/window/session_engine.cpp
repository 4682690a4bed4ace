#include "gui/window/session_engine.h"

#include "engine/backend/cpu/bandwidth_probe.h"

namespace qllama {
namespace {

// Everything about the files that can be wrong and is cheap to find out. A missing tokenizer is
// left to loadModel(), whose error the window knows how to answer.
Result<void> checkFiles(const CheckpointLocation& location, const std::stop_token& stop) {
    QLLAMA_TRY(const Checkpoint checkpoint, openCheckpoint(location, stop));
    std::optional<std::int64_t> vocabularySize;
    if (checkpoint.tokenizerPath) {
        QLLAMA_TRY(const auto tokenizer, Tokenizer::open(*checkpoint.tokenizerPath));
        vocabularySize = tokenizer->vocabularySize();
    }
    QLLAMA_TRY([[maybe_unused]] const LlamaConfig config,
               resolveConfig(checkpoint, vocabularySize));
    return {};
}

}  // namespace

Result<ModelInfo> SessionEngine::load(const LoadRequest& request, const LoadProgressSink& progress,
                                      std::stop_token stop) {
    if (stop.stop_requested()) return cancelledError();
    if (m_session) QLLAMA_CHECK(checkFiles(request.location, stop));
    m_session.reset();
    QLLAMA_TRY(auto model, loadModel(request, progress, stop));
    ModelInfo info = model->info;
    m_session = std::make_unique<GenerationSession>(std::move(model));
    return info;
}

Result<GenerationResult> SessionEngine::generate(const GenerationRequest& request,
                                                 GenerationSink& sink, std::stop_token stop) {
    if (!m_session) return Error{ErrorCode::InvalidRequest, "No model is loaded.", {}};
    return m_session->generate(request, sink, stop);
}

Result<double> SessionEngine::measureBandwidth(int threadCount) {
    QLLAMA_TRY(auto probe, cpu::BandwidthProbe::create(threadCount));
    return probe->measureGbPerSecond();
}

}  // namespace qllama
