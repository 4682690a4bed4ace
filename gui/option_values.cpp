#include "gui/option_values.h"

#include "engine/backend/precision.h"

namespace qllama {

std::string parsePath(const std::string& text, std::filesystem::path& path) {
    if (text.empty()) return "needs a path, not an empty text";
    path = text;
    return {};
}

std::string precisionKeys(const char* separator) {
    std::string keys;
    for (const PrecisionInfo& info : precisions())
        keys += (keys.empty() ? "" : separator) + std::string(info.key);
    return keys;
}

std::string parsePrecision(const std::string& text, Precision& precision) {
    const auto found = precisionFromKey(text);
    if (!found) return "takes one of " + precisionKeys(", ") + ", not " + quoted(text);
    precision = *found;
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
