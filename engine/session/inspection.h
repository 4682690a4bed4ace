// Describes a model without running it (--inspect).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/common/result.h"
#include "engine/model/llama_config.h"

namespace qllama {

// What one precision takes on the device: the matrices, as ModelInfo::weightBytes counts them, and
// the keys and values of `contextLength` positions. With the precision of the file the weights stay
// in the mapped file where they can be used as they lie.
struct MemoryNeed {
    std::string precision;  // key of the precision
    std::int64_t weightBytes = 0;
    std::int64_t kvCacheBytes = 0;
};

struct Inspection {
    Checkpoint checkpoint;
    bool isWhole = true;                // false: it does not run as it is, for one of the problems
    std::optional<LlamaConfig> config;  // empty when the weights are not usable; see problems
    std::int64_t parameterCount = 0;
    std::int64_t contextLength =
        0;  // asked for, else what the model says, else 2048; 0 without config
    std::vector<MemoryNeed> memory;  // one a precision; empty without a config that can be loaded
    std::vector<std::string> problems;  // why it cannot run or may run wrongly, in sentences
};

// With so many tokens of context, or the model's own. Fails only when there is nothing to describe: no
// weights, or unreadable ones.
Result<Inspection> inspect(const CheckpointLocation& location,
                           std::optional<std::int64_t> contextLength = std::nullopt);

}  // namespace qllama
