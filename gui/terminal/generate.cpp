#include "gui/terminal/generate.h"

#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <random>

#include "gui/prompt_file.h"
#include "gui/terminal/exit_code.h"
#include "gui/terminal/interrupt_watcher.h"
#include "gui/terminal/load_request.h"
#include "gui/terminal/npy_file.h"
#include "gui/terminal/output.h"
#include "gui/terminal/reporter.h"

namespace qllama {
namespace {

// 53 bits: every reader of JSON can hold such a number exactly.
std::uint64_t chooseSeed() {
    std::random_device device;
    const std::uint64_t high = device();
    return ((high << 32) | device()) >> 11;
}

bool wantsColor(ColorMode mode) {
    if (mode != ColorMode::Auto) return mode == ColorMode::Always;
    const char* noColor = std::getenv("NO_COLOR");  // https://no-color.org
    return isSmartTerminal(STDOUT_FILENO) && (noColor == nullptr || *noColor == '\0');
}

std::unique_ptr<Reporter> createReporter(const CommandLine& commandLine, StandardOutput& output) {
    if (commandLine.json) return std::make_unique<JsonReporter>(output);
    return std::make_unique<PlainReporter>(output,
                                           PlainStyle{.prompt = commandLine.generation.prompt,
                                                      .quiet = commandLine.quiet,
                                                      .colored = wantsColor(commandLine.color),
                                                      .demoModel = !commandLine.hasModel});
}

// Fills in what the command line left open besides the model: the prompt and the seed.
Result<void> complete(CommandLine& commandLine) {
    if (commandLine.promptFile) {
        QLLAMA_TRY(commandLine.generation.prompt, readPromptFile(*commandLine.promptFile));
    }
    if (!commandLine.generation.seed) commandLine.generation.seed = chooseSeed();
    return {};
}

// Stops at the first failure; `reporter` has then heard all but that.
Result<GenerationResult> generate(const CommandLine& commandLine, Reporter& reporter,
                                  std::stop_token stop) {
    std::unique_ptr<NpyFile> logits;
    if (commandLine.logitsPath) {
        QLLAMA_TRY(logits, NpyFile::open(*commandLine.logitsPath));
    }
    LoadRequest load = commandLine.load;
    if (load.device != "cpu")
        load.planMade = [&reporter](const PlacementPlan& plan) { reporter.planned(plan); };
    QLLAMA_TRY(
        auto model,
        loadModel(
            load, [&reporter](const LoadProgress& progress) { reporter.loadProgress(progress); },
            stop));
    reporter.modelReady(model->info, *commandLine.generation.seed);
    GenerationSession session(std::move(model));
    auto result = session.generate(commandLine.generation, reporter, stop);
    // Of the prompt, however the text ends.
    if (logits && !session.promptLogits().empty())
        QLLAMA_CHECK(logits->write(session.promptLogits()));
    if (!result.ok()) return result;
    bool hasProfile = false;
    for (const auto& backend : session.model().backends)
        if (const auto timings = backend->takeProfile(); !timings.empty()) {
            reporter.profiled(backend->device().id, timings);
            hasProfile = true;
        }
    if (commandLine.load.profile && !hasProfile)
        printError("--profile times the kernels of OpenCL devices; none of the layers is on one.");
    if (logits && session.promptLogits().empty())
        return Error{ErrorCode::Cancelled,
                     "Cancelled before the prompt was evaluated; no logits were written.",
                     {}};
    return result;
}

// Exceptions of libraries end here (out of memory above all).
Result<GenerationResult> generateCatching(const CommandLine& commandLine, Reporter& reporter,
                                          std::stop_token stop) {
    try {
        return generate(commandLine, reporter, std::move(stop));
    } catch (const std::bad_alloc&) {
        return Error{ErrorCode::OutOfMemory,
                     "There is not enough memory; a smaller --max-seq-len needs less.",
                     {}};
    } catch (const std::exception& problem) {
        return Error{ErrorCode::Io, std::string("Unexpected failure: ") + problem.what() + ".", {}};
    }
}

int report(const Result<GenerationResult>& result, Reporter& reporter,
           const StandardOutput& output) {
    if (output.readerLeft()) return kExitDone;
    if (!output.problem().empty()) {
        printError(output.problem());
        return kExitFailed;
    }
    if (!result) {
        reporter.failed(result.error().text());
        return kExitFailed;
    }
    reporter.done(result.value());
    // The last words may have met a full disk.
    if (output.problem().empty()) return kExitDone;
    printError(output.problem());
    return kExitFailed;
}

}  // namespace

int runGenerate(const CommandLine& given) {
    CommandLine commandLine = given;
    std::stop_source stop;
    StandardOutput output(stop);
    // Reading standard input comes before the watcher: there Ctrl-C shall end the program.
    const Result<void> completed = complete(commandLine);
    const auto reporter = createReporter(commandLine, output);
    if (!completed) return report(completed.error(), *reporter, output);
    const Result<LoadRequest> load = completeLoadRequest(commandLine, stop.get_token());
    if (!load) {
        reporter->failed(load.error().text());
        return kExitUsage;
    }
    commandLine.load = load.value();
    const InterruptWatcher watcher(stop);
    return report(generateCatching(commandLine, *reporter, stop.get_token()), *reporter, output);
}

}  // namespace qllama
