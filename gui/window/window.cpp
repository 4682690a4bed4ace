#include "gui/window/window.h"

#include <QApplication>
#include <QSettings>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "engine/quant/weight_cache.h"
#include "gui/command_line.h"
#include "gui/demo_model.h"
#include "gui/prompt_file.h"
#include "gui/window/application.h"
#include "gui/window/main_window.h"
#include "gui/window/session_engine.h"
#include "gui/window/window_start.h"

namespace qllama {
namespace {

// A stream is read to its end before there is a window that could stand still meanwhile.
Result<void> takeStream(WindowStart& start) {
    if (!start.promptFile || !isStream(*start.promptFile)) return {};
    start.promptSource = QCoreApplication::translate("qllama::MainWindow", "piped text");
    QLLAMA_TRY(start.prompt, readPromptFile(*std::exchange(start.promptFile, {})));
    return {};
}

WindowServices realServices() {
    WindowServices services;
    services.engine = std::make_unique<SessionEngine>();
    services.files = std::make_unique<DialogFileChooser>();
    services.settings = std::make_unique<QSettings>();
    services.listDevices = listDevices;
    services.plan = [](LoadRequest request) {
        request.ignoresFreeMemory = true;
        return planModel(request, {});
    };
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
    WindowStart start = windowStart(arguments, *services.settings);
    if (const auto taken = takeStream(start); !taken.ok()) {
        std::fprintf(stderr, "%s\n", taken.error().text().c_str());
        return 1;
    }
    MainWindow window(std::move(services));
    window.show();
    window.start(start);
    return QApplication::exec();
}

}  // namespace qllama
