// params.json as Meta writes it: https://github.com/meta-llama/llama (llama/model.py, ModelArgs).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "engine/common/result.h"

namespace qllama {

// Only what the file says; absent keys stay empty. Ranges are checked when reading (no negative
// extents, finite numbers), agreement with the weights later, by resolveConfig().
struct Params {
    std::int64_t dim = 0;
    std::int64_t layerCount = 0;
    std::int64_t headCount = 0;
    std::optional<std::int64_t> kvHeadCount;
    std::optional<std::int64_t> multipleOf;
    std::optional<double> ffnDimMultiplier;
    std::optional<double> normEps;
    std::optional<std::int64_t> vocabularySize;  // empty also for -1: taken from the tokenizer
    std::optional<double> ropeTheta;
    std::optional<std::int64_t> maxSeqLen;
    bool scaledRope = false;  // LLaMA 3.1's use_scaled_rope
};

// Reads at most 1 MiB; every failure is a sentence that names the key.
Result<Params> readParams(const std::filesystem::path& path);

}  // namespace qllama
