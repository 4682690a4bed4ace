#include "gui/window/session_engine.h"

#include "engine/common/host_memory.h"
#include "engine/session/model_speed_probe.h"

namespace qllama {
namespace {

// Everything that can be wrong and is cheap to find out: the files, the devices, and whether they
// have room.
Result<void> check(const LoadRequest& request, const std::stop_token& stop) {
    QLLAMA_TRY(const Checkpoint checkpoint, openCheckpoint(request.location, stop));
    QLLAMA_TRY(const auto tokenizer, openTokenizer(checkpoint));
    QLLAMA_TRY(const LlamaConfig config, resolveConfig(checkpoint, tokenizer->vocabularySize()));
    LoadRequest later = request;  // when the model in use is gone
    later.ignoresFreeMemory = true;
    QLLAMA_TRY([[maybe_unused]] const PlacementPlan plan, planModel(later, checkpoint, config));
    return {};
}

}  // namespace

Result<ModelInfo> SessionEngine::load(const LoadRequest& request, const LoadProgressSink& progress,
                                      std::stop_token stop) {
    if (stop.stop_requested()) return cancelledError();
    if (m_session) QLLAMA_CHECK(check(request, stop));
    unload();
    auto model = loadModel(request, progress, stop);
    if (!model.ok()) {
        returnFreeMemory();  // what was loaded until then
        return model.error();
    }
    ModelInfo info = model.value()->info;
    m_session = std::make_unique<GenerationSession>(std::move(model).value());
    return info;
}

void SessionEngine::unload() {
    m_session.reset();
    returnFreeMemory();
}

Result<GenerationResult> SessionEngine::generate(const GenerationRequest& request,
                                                 GenerationSink& sink, std::stop_token stop) {
    if (!m_session) return Error{ErrorCode::InvalidRequest, "No model is loaded.", {}};
    return m_session->generate(request, sink, stop);
}

Result<double> SessionEngine::measureBandwidth(std::stop_token stop) {
    if (!m_session) return cancelledError();  // unloaded while the request was on its way
    QLLAMA_TRY(ModelSpeedProbe probe, ModelSpeedProbe::create(m_session->model(), stop));
    return probe.measureGbPerSecond(stop);
}

}  // namespace qllama
