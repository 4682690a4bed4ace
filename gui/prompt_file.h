// Reading a prompt from a file, for both front ends.
#pragma once

#include <filesystem>
#include <string>

#include "engine/common/result.h"

namespace qllama {

// The bytes of the file as they are, nothing trimmed; "-" reads standard input to its end. Refuses
// more than 64 MiB, far beyond any context, so that a wrong file name cannot exhaust the memory.
Result<std::string> readPromptFile(const std::filesystem::path& path);

// Whether to read it may wait for someone else: standard input ("-"), a pipe or a device.
[[nodiscard]] bool isStream(const std::filesystem::path& path);

}  // namespace qllama
