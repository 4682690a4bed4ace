// A checkpoint that was unzipped already: data.pkl and data/0, data/1, ... as files of a folder.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/checkpoint/archive.h"

namespace qllama {

// Lists the files of `folder` and of its folder "data"; each is mapped when it is located.
Result<std::unique_ptr<Archive>> openFolderArchive(const std::filesystem::path& folder);

}  // namespace qllama
