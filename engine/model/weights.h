// The tensors of a LLaMA on its device (or devices, as ranges of layers).
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/model/llama_config.h"

namespace qllama {

struct LayerWeights {
    std::unique_ptr<Buffer> attentionNorm, ffnNorm;  // [dim]
    std::unique_ptr<Matrix> wq, wk, wv, wo;  // [heads*headDim, dim], [kv.., dim] x2, [dim, ..]
    std::unique_ptr<Matrix> w1, w3, w2;      // gate, up [ffnDim, dim]; down [dim, ffnDim]
};

// A contiguous range of layers on one backend, with the ends of the model where they belong.
struct StageWeights {
    Backend* backend = nullptr;  // not owned
    std::vector<LayerWeights> layers;
    std::unique_ptr<Matrix> embedding;             // first stage: [vocabulary, dim]
    std::unique_ptr<Buffer> norm;                  // last stage: [dim]
    std::unique_ptr<Matrix> output;                // last stage: [vocabulary, dim]
    [[nodiscard]] std::int64_t sizeBytes() const;  // of all matrices
};

// What is done with the weights, beyond bringing them into memory.
enum class LoadWork { None, Quantising, Packing };

struct LoadProgress {
    std::int64_t doneBytes = 0;
    std::int64_t totalBytes = 0;
    LoadWork work = LoadWork::None;
    std::string compilingDevice = {};  // its kernels are being compiled; empty: none's
};
using LoadProgressSink = std::function<void(const LoadProgress&)>;

// Layers [firstLayer, firstLayer + layerCount); stop is polled for each tensor and within large ones.
// The backend is tuned for them afterwards.
Result<StageWeights> loadStage(Backend& backend, const Checkpoint& checkpoint,
                               const LlamaConfig& config, Precision precision,
                               std::int64_t firstLayer, std::int64_t layerCount,
                               const LoadProgressSink& progress, std::stop_token stop);

}  // namespace qllama
