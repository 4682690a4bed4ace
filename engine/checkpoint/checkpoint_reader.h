// Opens a model folder, a .pth file or a params.json, and says what is in it. Costs no copy of the
// weights: the directory and the pickle are read, the storages stay mapped.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/checkpoint/params.h"
#include "engine/checkpoint/tensor_catalog.h"
#include "engine/common/result.h"

namespace qllama {

// Where the user says things are; empty optionals are looked for beside `model`.
struct CheckpointLocation {
    std::filesystem::path model;  // a folder, a .pth, or a params.json
    std::optional<std::filesystem::path> tokenizer;
    std::optional<std::filesystem::path> params;
};

struct ShardInfo {
    std::filesystem::path path;
    std::string format;  // "zip", "legacy", "unzipped"
    std::int64_t tensorCount = 0;
    std::int64_t sizeBytes = 0;
    std::uint64_t fingerprint = 0;  // changes with the content; cheap, see WeightFile
};

struct Checkpoint {
    std::string name;  // of the folder, for people
    std::filesystem::path folder;
    std::filesystem::path paramsPath;
    std::optional<std::filesystem::path> tokenizerPath;  // empty: not found, ask the user
    Params params;
    std::vector<ShardInfo> shards;
    TensorCatalog tensors;
    std::vector<std::string> notes;     // harmless oddities, in sentences
    std::vector<std::string> warnings;  // it can be used, but may not be what it was meant to be
};

// Finds and merges the shards. Stop is polled for each shard. Errors name the file and the pickle
// offset, member or tensor; nothing in the files is ever executed.
Result<Checkpoint> openCheckpoint(const CheckpointLocation& location, std::stop_token stop);

}  // namespace qllama
