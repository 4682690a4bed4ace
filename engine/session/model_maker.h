// Makes a model of random weights in Meta's layout, for measuring without anybody's weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>

#include "engine/common/result.h"
#include "engine/session/model_shape.h"
#include "engine/tensor/dtype.h"

namespace qllama {

struct ModelMakerRequest {
    ModelShape shape;
    std::filesystem::path folder;  // made if missing; must be empty
    int shardCount = 1;
    DType dtype = DType::F16;                             // or BF16
    std::optional<std::filesystem::path> tokenizer = {};  // copied beside the weights
    std::uint64_t seed = 1;
    int threadCount = 0;  // 0: physical cores
};

struct MadeModel {
    std::int64_t parameterCount = 0;
    std::int64_t sizeBytes = 0;  // of the weights
    std::int64_t vocabularySize = 0;
    int shardCount = 0;
    double ms = 0;
};

using MakeProgressSink = std::function<void(std::int64_t doneBytes, std::int64_t totalBytes)>;

// Normally distributed so that activations keep their size from layer to layer; the same
// weights for the same seed and shape, whatever the number of shards and threads. Fails before it
// writes when the disk has no room (both numbers named), the folder is not empty, or a vocabulary
// was asked for that the tokenizer does not have. A failure or Stop leaves nothing behind.
Result<MadeModel> makeModel(const ModelMakerRequest& request, const MakeProgressSink& progress,
                            std::stop_token stop);

}  // namespace qllama
