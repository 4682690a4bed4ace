// The zip directory through QuaZip; the members' bytes stay in the mapped file.
#pragma once

#include <memory>

#include "engine/checkpoint/archive.h"
#include "engine/common/mapped_file.h"

namespace qllama {

// Refuses a file without a sound directory at its end (a truncated download), encrypted members
// and methods other than stored and deflated. Every offset is checked against the mapping.
Result<std::unique_ptr<Archive>> openZipArchive(std::shared_ptr<const MappedFile> file);

}  // namespace qllama
