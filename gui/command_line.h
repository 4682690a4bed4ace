// The command line, the same for the window and the terminal.
#pragma once

#include <QString>
#include <QStringList>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "engine/session/benchmark.h"
#include "engine/session/generation_types.h"
#include "engine/session/model_loader.h"

namespace qllama {

enum class ColorMode { Auto, Always, Never };
// What happens when an OpenCL device fails or is not there.
enum class DeviceFailurePolicy { Ask, FallBack, Stop };
enum class TerminalAction {
    Generate,
    Inspect,
    Plan,
    Benchmark,
    MakeModel,
    Perplexity,
    ListCache,
    ClearCache,
    ListDevices,
    Version,
    Help
};

struct CommandLine {
    TerminalAction action = TerminalAction::Generate;
    bool headless = false;
    // Everything said about the model, also when no model is named: hasModel tells. Without one the
    // front end takes the demo model.
    LoadRequest load;
    bool hasModel = false;
    std::optional<DeviceFailurePolicy> deviceFailure;  // empty: as always, else to ask
    GenerationRequest generation;
    BenchmarkOptions benchmark;
    std::string makeShape;  // --make-model; the folder to write is load.location.model
    int shardCount = 1;
    std::optional<std::filesystem::path> perplexityPath;  // "-" is standard input
    std::optional<Precision> referencePrecision;
    bool hasPrompt = false;                           // --prompt was given, perhaps empty
    std::optional<std::filesystem::path> promptFile;  // "-" is standard input; see prompt_file.h
    std::optional<std::string> cpuTarget;  // the instruction set, instead of the best one
    std::optional<std::filesystem::path> inspectPath;
    std::optional<std::filesystem::path> logitsPath;
    bool json = false;
    bool quiet = false;
    ColorMode color = ColorMode::Auto;
    std::set<std::string, std::less<>> given;  // the options that were there, by documented name
};

// True when the arguments ask for something that needs no window (--headless, --inspect,
// --bench, --list-devices, --version, --help and the like), or are so wrong that only a sentence on the terminal is
// called for. Looks at the arguments only, creates no application object.
bool wantsTerminal(int argc, const char* const* argv);

// Either a CommandLine or one sentence about what is wrong with the usage (exit code 2).
struct ParsedCommandLine {
    std::optional<CommandLine> commandLine;
    QString usageError;
    bool json = false;  // --json was among the arguments, right or wrong
};

// Without the program's own name. Bytes are kept as they are: paths and prompts need not be UTF-8.
// `initial` is what holds where the arguments say nothing.
ParsedCommandLine parseCommandLine(std::span<const std::string> arguments,
                                   const CommandLine& initial = {});
// As QCoreApplication::arguments() gives them: the program's name comes first.
ParsedCommandLine parseCommandLine(const QStringList& arguments);

QString helpText();

}  // namespace qllama
