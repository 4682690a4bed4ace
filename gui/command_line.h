// The command line, the same for the window and the terminal.
#pragma once

#include <QString>
#include <QStringList>
#include <filesystem>
#include <optional>
#include <string>

#include "engine/session/generation_types.h"
#include "engine/session/model_loader.h"

namespace qllama {

enum class ColorMode { Auto, Always, Never };
enum class TerminalAction { Generate, Inspect, ListDevices, Version, Help };

struct CommandLine {
    TerminalAction action = TerminalAction::Generate;
    std::optional<LoadRequest> load;  // empty: no --model given
    GenerationRequest generation;
    std::optional<QString> promptFile;  // read byte for byte by the front end
    std::optional<std::filesystem::path> inspectPath;
    std::optional<std::filesystem::path> logitsPath;
    bool json = false;
    bool quiet = false;
    ColorMode color = ColorMode::Auto;
};

// True when the arguments ask for something that needs no window (--headless, --inspect, --bench,
// --list-devices, --version, --help). Looks at the arguments only, creates no application object.
bool wantsTerminal(int argc, const char* const* argv);

// Either a CommandLine or one sentence about what is wrong with the usage (exit code 2).
struct ParsedCommandLine {
    std::optional<CommandLine> commandLine;
    QString usageError;
};
ParsedCommandLine parseCommandLine(const QStringList& arguments);
QString helpText();

}  // namespace qllama
