#include "gui/window/window.h"

#include <QApplication>
#include <QSettings>
#include <cstdio>
#include <string>
#include <vector>

#include "engine/quant/weight_cache.h"
#include "gui/command_line.h"
#include "gui/demo_model.h"
#include "gui/prompt_file.h"
#include "gui/window/application.h"
#include "gui/window/main_window.h"
#include "gui/window/session_engine.h"
#include "gui/window/window_settings.h"

namespace qllama {
namespace {

const std::filesystem::path kStandardInput = "-";

// `asked` over `kept`: what the command line left at its default is as it was last time.
GenerationRequest overlaid(GenerationRequest kept, const GenerationRequest& asked) {
    const GenerationRequest defaults;
    for (const SamplerParameter& parameter : samplerParameters()) {
        const double value = asked.sampler.value(parameter.key);
        if (value != parameter.defaultValue) kept.sampler.set(parameter.key, value);
    }
    if (asked.seed) kept.seed = asked.seed;
    if (asked.maxTokens != defaults.maxTokens) kept.maxTokens = asked.maxTokens;
    if (asked.ignoreEos) kept.ignoreEos = true;
    if (!asked.stopStrings.empty()) kept.stopStrings = asked.stopStrings;
    return kept;
}

// A model on the command line is loaded exactly as the command line says. Without one, settings on
// the command line apply to the model from last time.
std::optional<LoadRequest> loadOf(const CommandLine& commandLine) {
    const LoadRequest& load = commandLine.load;
    const LoadRequest defaults;
    const bool saysHow = load.device != defaults.device || load.precision != defaults.precision ||
                         load.threadCount != defaults.threadCount ||
                         load.contextLength != defaults.contextLength;
    if (!commandLine.hasModel && !saysHow) return std::nullopt;
    return load;
}

WindowStart startOf(const CommandLine& commandLine, const QSettings& settings) {
    WindowStart start;
    start.load = loadOf(commandLine);
    start.generation = overlaid(restoreGeneration(settings), commandLine.generation);
    if (commandLine.hasPrompt) start.prompt = commandLine.generation.prompt;
    start.promptFile = commandLine.promptFile;
    return start;
}

// Standard input is read to its end before there is a window that could stand still meanwhile.
Result<void> takeStandardInput(WindowStart& start) {
    if (start.promptFile != kStandardInput) return {};
    start.promptFile.reset();
    QLLAMA_TRY(start.prompt, readPromptFile(kStandardInput));
    return {};
}

WindowServices realServices() {
    WindowServices services;
    services.engine = std::make_unique<SessionEngine>();
    services.files = std::make_unique<DialogFileChooser>();
    services.settings = std::make_unique<QSettings>();
    services.listDevices = listDevices;
    services.plan = [](const LoadRequest& request) { return planModel(request, {}); };
    services.demoModel = demoModelFolder();
    services.weightCacheFolder = defaultWeightCacheFolder();
    return services;
}

}  // namespace

int runWindow(int argc, char** argv) {
    QApplication application(argc, argv);  // takes its own arguments out of argv
    prepareApplication();
    const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    const ParsedCommandLine parsed = parseCommandLine(arguments);
    if (!parsed.commandLine) {
        std::fprintf(stderr, "%s\n", parsed.usageError.toUtf8().constData());
        return 2;
    }
    WindowServices services = realServices();
    WindowStart start = startOf(*parsed.commandLine, *services.settings);
    if (const auto taken = takeStandardInput(start); !taken.ok()) {
        std::fprintf(stderr, "%s\n", taken.error().text().c_str());
        return 1;
    }
    MainWindow window(std::move(services));
    window.show();
    window.start(start);
    return QApplication::exec();
}

}  // namespace qllama
