// The extents of a model to be made, by name ("7b") or one by one ("dim=512,layers=4,...").
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/common/result.h"

namespace qllama {

struct ModelShape {
    std::int64_t dim = 0;
    std::int64_t layerCount = 0;
    std::int64_t headCount = 0;
    std::int64_t kvHeadCount = 0;
    std::int64_t ffnDim = 0;
    std::optional<std::int64_t> vocabularySize;  // empty: the tokenizer's, else 32000
};

struct NamedShape {
    std::string_view name;
    ModelShape shape;
};
std::span<const NamedShape> namedShapes();

// A name, or all of dim, layers, heads and ffn, with kv-heads (as heads) and vocab at will. Refuses
// extents that do not make a LLaMA, with the numbers.
Result<ModelShape> parseModelShape(std::string_view text);

// Whether the model can be split over so many files as Meta splits it.
Result<void> checkShards(const ModelShape& shape, std::int64_t vocabularySize, int shardCount);

// The params.json of the shape: its multiple_of (and ffn_dim_multiplier where that is not enough)
// give exactly ffnDim by Meta's formula.
std::string paramsJson(const ModelShape& shape);

}  // namespace qllama
