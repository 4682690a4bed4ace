#include "gui/demo_model.h"

namespace qllama {

std::optional<std::filesystem::path> demoModelFolder() {
    return std::nullopt;
}

}  // namespace qllama
