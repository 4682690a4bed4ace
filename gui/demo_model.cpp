#include "gui/demo_model.h"

#include <system_error>
#include <vector>

namespace qllama {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFolderName = "demo-model";

fs::path programFolder() {
    std::error_code problem;
    return fs::read_symlink("/proc/self/exe", problem).parent_path();
}

bool isModelFolder(const fs::path& folder) {
    std::error_code problem;
    return fs::is_regular_file(folder / "params.json", problem);
}

// Beside the program first, so that an installed tree may be moved as a whole; then the sources it
// was built from; then where it was to be installed, for a program that was moved alone.
std::vector<fs::path> candidates() {
    std::vector<fs::path> folders;
    const fs::path program = programFolder();
    if (!program.empty()) folders.push_back(program / QLLAMA_RELATIVE_DATA_DIR / kFolderName);
    folders.push_back(fs::path(QLLAMA_SOURCE_DATA_DIR) / kFolderName);
    folders.push_back(fs::path(QLLAMA_INSTALL_DATA_DIR) / kFolderName);
    return folders;
}

}  // namespace

std::optional<fs::path> demoModelFolder() {
    for (const fs::path& folder : candidates())
        if (isModelFolder(folder)) return folder.lexically_normal();
    return std::nullopt;
}

}  // namespace qllama
