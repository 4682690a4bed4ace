// Finds the files of a model from what the user pointed at.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/common/result.h"

namespace qllama {

struct CheckpointFiles {
    std::filesystem::path folder;  // absolute
    std::string name;
    std::filesystem::path params;
    std::optional<std::filesystem::path> tokenizer;
    std::vector<std::filesystem::path> weights;  // .pth files or unzipped folders, in order
    bool isNumbered = false;                     // consolidated.00, .01, ...
};

enum class Completeness { Required, Optional };

// Looks at names only, opens nothing. A gap in the numbering is an error that names the file, and so
// is a missing params.json; where completeness is optional the files that are there are found, and
// `params` may be empty.
Result<CheckpointFiles> findCheckpointFiles(const CheckpointLocation& location,
                                            Completeness completeness = Completeness::Required);

// "consolidated.03.pth", or "consolidated.03" beside an unzipped `sibling`.
std::string numberedName(std::size_t index, const std::filesystem::path& sibling);

}  // namespace qllama
