#include <sstream>

#include "gui/command_line.h"
#include "gui/command_line_options.h"

namespace qllama {
namespace {

constexpr std::size_t kLineWidth = 80;
constexpr std::size_t kHelpColumn = 30;

constexpr const char* kUsage =
    "Usage: qllama [PATH] [options]               open the window\n"
    "       qllama --headless --prompt TEXT ...   generate in the terminal\n"
    "\n"
    "Runs LLaMA-family models from the checkpoints that PyTorch wrote.\n";

constexpr const char* kExitCodes =
    "\nExit status: 0 done, 1 could not do it, 2 wrong usage. Ctrl-C ends the\n"
    "generation and still prints the statistics; a second Ctrl-C ends the program.\n";

std::string heading(const CommandLineOption& option) {
    std::string text = "  " + option.names.front();
    if (!option.valueName.empty()) text += " " + option.valueName;
    return text;
}

std::string description(const CommandLineOption& option) {
    std::string text = option.help;
    for (std::size_t index = 1; index < option.names.size(); ++index)
        text += (index == 1 ? " Also: " : ", ") + option.names[index];
    return option.names.size() > 1 ? text + "." : text;
}

// `description` in words from kHelpColumn on, beside the heading if that is short enough.
std::string optionText(const CommandLineOption& option) {
    std::string text = heading(option);
    std::size_t column = text.size();
    const auto startLine = [&text, &column](bool onNewLine) {
        if (onNewLine) {
            text += '\n';
            column = 0;
        }
        text.append(kHelpColumn - column, ' ');
        column = kHelpColumn;
    };
    startLine(column + 2 > kHelpColumn);
    std::istringstream words(description(option));
    for (std::string word; words >> word;) {
        if (column > kHelpColumn && column + 1 + word.size() > kLineWidth) startLine(true);
        if (column > kHelpColumn) {
            text += ' ';
            ++column;
        }
        text += word;
        column += word.size();
    }
    return text + "\n";
}

}  // namespace

QString helpText() {
    std::string text = kUsage;
    std::string_view group;
    for (const CommandLineOption& option : commandLineOptions()) {
        if (option.group != group) {
            group = option.group;
            text += "\n" + std::string(group) + ":\n";
        }
        text += optionText(option);
    }
    return QString::fromStdString(text + kExitCodes);
}

}  // namespace qllama
