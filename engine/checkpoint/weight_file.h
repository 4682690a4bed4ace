// One file or folder of weights: recognised by its first bytes, never by its name.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>

#include "engine/checkpoint/torch_state_dict.h"

namespace qllama {

struct WeightFile {
    std::string format;  // "zip", "legacy", "unzipped"
    std::int64_t sizeBytes = 0;
    std::uint64_t fingerprint = 0;  // of the members with their checksums; see ArchiveMember::stamp
    StateDict content;
};

// From the first bytes alone: is this a file that openWeightFile() reads? Folders pass.
Result<void> checkWeightFileKind(const std::filesystem::path& path);

// A file of another kind (a web page, a Git LFS pointer, GGUF, safetensors, ...) is named in the
// error. A folder is taken as an unzipped checkpoint.
Result<WeightFile> openWeightFile(const std::filesystem::path& path, std::stop_token stop);

}  // namespace qllama
