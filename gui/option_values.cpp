#include "gui/option_values.h"

namespace qllama {

std::string parsePath(const std::string& text, std::filesystem::path& path) {
    if (text.empty()) return "needs a path, not an empty text";
    path = text;
    return {};
}

// Exactly one action; --headless is none by itself, it only chooses the terminal.
std::string setAction(CommandLine& commandLine, TerminalAction action) {
    if (commandLine.action != TerminalAction::Generate && commandLine.action != action)
        return "cannot be combined with another request for information";
    commandLine.action = action;
    return {};
}

}  // namespace qllama
