#include "gui/terminal/terminal.h"

#include <exception>
#include <new>

#include "engine/backend/device.h"
#include "gui/command_line.h"
#include "gui/terminal/answer.h"
#include "gui/terminal/benchmark.h"
#include "gui/terminal/describe.h"
#include "gui/terminal/exit_code.h"
#include "gui/terminal/generate.h"
#include "gui/terminal/make_model.h"
#include "gui/terminal/perplexity.h"
#include "gui/terminal/weight_cache.h"

namespace qllama {
namespace {

constexpr const char* kVersionText = "QLLaMA " QLLAMA_VERSION "\nLicence: GPL-3.0-or-later\n";

int refuse(const std::string& message, bool json, int exitCode = kExitUsage) {
    printAnswer(json, Error{ErrorCode::InvalidRequest, message, {}});
    return exitCode;
}

int runAction(const CommandLine& commandLine) {
    switch (commandLine.action) {
        case TerminalAction::Generate:
            return runGenerate(commandLine);
        case TerminalAction::Inspect:
            return runInspect(commandLine);
        case TerminalAction::Plan:
            return runPlan(commandLine);
        case TerminalAction::Benchmark:
            return runBenchmark(commandLine);
        case TerminalAction::MakeModel:
            return runMakeModel(commandLine);
        case TerminalAction::Perplexity:
            return runPerplexity(commandLine);
        case TerminalAction::ListCache:
            return runListCache(commandLine);
        case TerminalAction::ClearCache:
            return runClearCache(commandLine);
        case TerminalAction::ListDevices:
            return runListDevices(commandLine);
        case TerminalAction::Version:
            return printAnswer(false, std::string(kVersionText));
        case TerminalAction::Help:
            return printAnswer(false, helpText().toStdString());
    }
    return kExitUsage;
}

}  // namespace

int runTerminal(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    const ParsedCommandLine parsed = parseCommandLine(arguments);
    if (!parsed.commandLine) return refuse(parsed.usageError.toStdString(), parsed.json);
    const CommandLine& commandLine = *parsed.commandLine;
    if (commandLine.cpuTarget)
        if (const auto forced = forceCpuTarget(*commandLine.cpuTarget); !forced.ok())
            return refuse(forced.error().message, parsed.json);
    // What libraries throw ends here, if no action knows better.
    try {
        return runAction(commandLine);
    } catch (const std::bad_alloc&) {
        return refuse("There is not enough memory for this.", parsed.json, kExitFailed);
    } catch (const std::exception& problem) {
        return refuse(std::string("Unexpected failure: ") + problem.what() + ".", parsed.json,
                      kExitFailed);
    }
}

}  // namespace qllama
