// Describes a model without running it (--inspect).
#pragma once

#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/common/result.h"
#include "engine/model/llama_config.h"

namespace qllama {

struct MemoryNeed {
    std::string precision;  // key of the precision
    std::int64_t weightBytes = 0;
    std::int64_t kvCacheBytes = 0;  // at `contextLength`
};

struct Inspection {
    Checkpoint checkpoint;
    std::optional<LlamaConfig> config;  // empty when the model is not usable; see problems
    std::int64_t parameterCount = 0;
    std::int64_t contextLength = 0;
    std::vector<MemoryNeed> memory;     // one a precision
    std::vector<std::string> problems;  // why it cannot run, in sentences
};

// Fails only when nothing can be read at all.
Result<Inspection> inspect(const CheckpointLocation& location);

}  // namespace qllama
