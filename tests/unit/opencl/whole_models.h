// Whole models on OpenCL devices: small ones of random weights, and the demo model.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "engine/session/model_loader.h"
#include "engine/session/pipeline.h"
#include "tests/support/difference.h"
#include "tests/support/small_model.h"

namespace qllama::test {

inline constexpr std::int64_t kContext = 576;
inline constexpr int kGreedyTokens = 64;

// PoCL offers the processor twice, for pipelines over two devices, unless it is told otherwise. Before the
// first use of OpenCL; false where two devices are not to be had.
inline bool offersTwoDevices() {
    setenv("POCL_DEVICES", "pthread pthread", 0);
    return listDevices().devices.size() >= 3;
}

// Those two: of one kind, so that what is compiled for the first serves the second, and using the weights where
// they lie. On a machine with graphics cards they come after those.
inline std::vector<std::string> pairOfProcessors() {
    std::vector<std::string> ids;
    for (const DeviceInfo& device : listDevices().devices)
        if (device.id.starts_with("opencl:") && device.isHostProcessor &&
            device.platform != "rusticl")
            ids.push_back(device.id);
    if (ids.size() < 2) qFatal("PoCL offers no two devices.");
    return ids;
}

inline LlamaConfig configWith(std::int64_t headCount, std::int64_t kvHeadCount) {
    return {.dim = headCount * 16,
            .layerCount = 6,
            .headCount = headCount,
            .kvHeadCount = kvHeadCount,
            .headDim = 16,
            .ffnDim = 150,
            .vocabularySize = 211};
}

inline std::vector<std::int32_t> promptOf(std::int64_t length) {
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < length; ++i)
        tokens.push_back(static_cast<std::int32_t>((i * 37 + 11) % 211));
    return tokens;
}

struct Run {
    std::vector<float> logits;  // after the prompt
    std::vector<std::int32_t> tokens;
};

inline Result<Run> generate(Transformer& transformer, const std::vector<std::int32_t>& prompt,
                            int greedyTokens) {
    Run run;
    transformer.truncate(0);
    QLLAMA_CHECK(transformer.forward(prompt, {}, {}));
    run.logits.assign(transformer.logits().begin(), transformer.logits().end());
    for (int i = 0; i < greedyTokens; ++i) {
        const auto logits = transformer.logits();
        run.tokens.push_back(static_cast<std::int32_t>(
            std::max_element(logits.begin(), logits.end()) - logits.begin()));
        const std::int32_t next[] = {run.tokens.back()};
        QLLAMA_CHECK(transformer.forward(next, {}, {}));
    }
    return run;
}

inline Result<Pipeline> load(const Checkpoint& checkpoint, const LlamaConfig& config,
                             const std::string& devices,
                             std::optional<std::vector<std::int64_t>> split,
                             KvPrecision kvPrecision, Precision precision = Precision::Source) {
    QLLAMA_TRY(DeviceChoice choice, chooseDevices({.device = devices,
                                                   .split = std::move(split),
                                                   .layerCount = config.layerCount}));
    PipelineRequest request;
    request.placement = {.config = config,
                         .precision = precision,
                         .contextLength = kContext,
                         .kvPrecision = kvPrecision,
                         .devices = choice.devices,
                         .split = choice.split};
    request.cpuIsSpare = choice.cpuIsSpare;
    request.options.threadCount = 2;
    return loadPipeline(request, checkpoint, {}, {});
}

inline LoadRequest demoRequest(const std::string& device) {
    LoadRequest request;
    request.location.model = QLLAMA_RESOURCE_DIR "/demo-model";
    request.threadCount = 2;
    request.device = device;
    return request;
}

}  // namespace qllama::test
