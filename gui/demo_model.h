// Where the bundled demo model is: beside the installed program, or in the source tree it was built
// from.
#pragma once

#include <filesystem>
#include <optional>

namespace qllama {

std::optional<std::filesystem::path> demoModelFolder();

}  // namespace qllama
