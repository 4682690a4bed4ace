// The shape of a LLaMA model, agreed between params.json, the tokenizer and the weights themselves.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/common/result.h"

namespace qllama {

// All extents positive; headCount * headDim == dim; kvHeadCount divides headCount; headDim even.
struct LlamaConfig {
    std::int64_t dim = 0;
    std::int64_t layerCount = 0;
    std::int64_t headCount = 0;
    std::int64_t kvHeadCount = 0;
    std::int64_t headDim = 0;
    std::int64_t ffnDim = 0;
    std::int64_t vocabularySize = 0;
    double normEps = 1e-5;
    double ropeTheta = 10000.0;
    std::int64_t trainedContext = 2048;  // max_seq_len of the file, else 2048
};

inline constexpr std::int64_t kLargestHeadDim = 1024;

// Takes the true extents from the tensors and checks everything the file claims against them:
// missing layers, wrong shapes, an FFN width or vocabulary that disagrees are errors with both
// numbers. `tokenizerVocabulary` is empty when no tokenizer is at hand (inspection).
Result<LlamaConfig> resolveConfig(const Checkpoint& checkpoint,
                                  std::optional<std::int64_t> tokenizerVocabulary);

// The tokens of a context: those wanted, else the file's own. Fails where they are none or far too many.
Result<std::int64_t> contextLengthFor(const LlamaConfig& config, std::optional<std::int64_t> wanted,
                                      const Checkpoint& checkpoint);

// Names in Meta's layout, used by the loader and by tests.
std::string layerTensorName(std::int64_t layer, const char* part);  // part: "attention.wq.weight"

}  // namespace qllama
