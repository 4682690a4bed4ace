#include <cmath>
#include <limits>

#include "engine/tokenizer/utf8_stream.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/placement_text.h"
#include "gui/terminal/reporter.h"

namespace qllama {
namespace {

// Times and rates are measured to about a microsecond; more digits would be noise.
double rounded(double value) {
    constexpr double kSteps = 10000;
    return std::round(value * kSteps) / kSteps;
}

// For means over the tokens after the first: null when there is none.
double measured(double value) {
    return value > 0 ? rounded(value) : std::numeric_limits<double>::quiet_NaN();
}

JsonObject event(const char* name) {
    return JsonObject().add("event", name);
}

std::string line(const JsonObject& object) {
    return object.text() + "\n";
}

}  // namespace

void JsonReporter::planned(const PlacementPlan& plan) {
    m_output.write(
        line(event("plan").add("placement", placementObjects(plan)).add("notes", plan.notes)));
}

void JsonReporter::modelMoved(const ModelInfo& model) {
    m_output.write(line(event("moved")
                            .add("placement", placementObjects(model.placement))
                            .add("notes", model.notes)));
}

void JsonReporter::modelReady(const ModelInfo& model, std::uint64_t seed) {
    m_output.write(line(event("model")
                            .add("name", model.name)
                            .add("path", model.path)
                            .add("parameters", model.parameterCount)
                            .add("layers", model.config.layerCount)
                            .add("precision", model.precision)
                            .add("device", model.device.id)
                            .add("device_name", model.device.name)
                            .add("threads", model.threadCount)
                            .add("context", model.contextLength)
                            .add("weights_bytes", model.weightBytes)
                            .add("kv_cache_bytes", model.kvCacheBytes)
                            .add("load_ms", rounded(model.loadMs))
                            .add("seed", seed)
                            .add("placement", placementObjects(model.placement))
                            .add("notes", model.notes)
                            .add("tuning", model.tuning)));
}

void JsonReporter::promptDone(const PromptStatistics& statistics) {
    m_output.write(line(event("prompt")
                            .add("tokens", statistics.tokens)
                            .add("ms", rounded(statistics.ms))
                            .add("tokens_per_second", rounded(statistics.tokensPerSecond))));
}

void JsonReporter::tokenReady(const TokenChunk& chunk) {
    const std::string text = toValidUtf8(chunk.text);
    m_text += text;
    m_output.write(line(event("token")
                            .add("id", chunk.token)
                            .add("text", text)
                            .add("probability", chunk.probability)
                            .add("ms", rounded(chunk.ms))));
}

void JsonReporter::done(const GenerationResult& result) {
    const GenerationStatistics& statistics = result.statistics;
    m_output.write(line(event("done")
                            .add("tokens", statistics.tokenCount)
                            .add("text", m_text)
                            .add("ms_per_token", measured(statistics.msPerToken))
                            .add("tokens_per_second", measured(statistics.tokensPerSecond))
                            .add("reason", keyOf(result.reason))
                            .add("seed", statistics.seed)));
}

void JsonReporter::profiled(const std::string& device, std::span<const KernelTiming> timings) {
    std::vector<JsonObject> kernels;
    for (const KernelTiming& timing : timings)
        kernels.push_back(JsonObject()
                              .add("name", timing.name)
                              .add("calls", timing.calls)
                              .add("ms", rounded(timing.ms))
                              .add("bytes", timing.bytes));
    m_output.write(line(event("profile").add("device", device).add("kernels", kernels)));
}

void JsonReporter::failed(std::string_view message) {
    m_output.write(jsonErrorLine(message));
    printError(message);
}

}  // namespace qllama
