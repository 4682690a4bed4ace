// Puts the files of one checkpoint together, as Meta's model parallelism split the tensors over
// them (fairscale: ColumnParallelLinear splits the rows of the weight as torch stores it,
// RowParallelLinear the columns).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/tensor_catalog.h"
#include "engine/checkpoint/torch_state_dict.h"
#include "engine/common/result.h"

namespace qllama {

struct Shard {
    std::filesystem::path path;
    StateDict content;
};

// How many files the tensors of `shard` are made to be split over, from its own shapes and the
// model's width `dim`; empty when they do not tell.
std::optional<std::int64_t> shardCountImplied(const StateDict& shard, std::int64_t dim);

// One catalogue out of all shards, in order. Refuses a tensor that is missing from a shard, or
// whose parts disagree in type or shape or do not make up the model's width. `dim` and
// `vocabularySize` (0: unknown) come from params.json and decide how the embeddings were split.
// Tensors that no LLaMA has are left out with a note when there are several shards. Of the norms,
// which every shard has whole, the first shard's are used; a warning names the first that is not the
// same everywhere. To know that, their bytes are read: a few kB a layer. Another names the shards that begin
// with the same bytes in all their matrices, of which up to 64 KiB each are read until two differ.
Result<TensorCatalog> mergeShards(std::vector<Shard> shards, std::int64_t dim,
                                  std::int64_t vocabularySize, std::vector<std::string>& notes,
                                  std::vector<std::string>& warnings);

}  // namespace qllama
