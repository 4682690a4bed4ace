// What showing the text costs the engine: the same run in the window, with every token coloured and
// the speed dock open, and in an engine thread that nobody watches, in turns. Prints medians of
// ms/token and the median of the ratios of neighbouring turns.
//   bench_window_streaming MODEL [PRECISION [ROUNDS [TOKENS]]]      (needs a display, or
//                                                                    QT_QPA_PLATFORM=offscreen)
#include <QApplication>
#include <QDockWidget>
#include <QEventLoop>
#include <QTemporaryDir>
#include <QTextStream>
#include <algorithm>

#include "engine/quant/weight_cache.h"
#include "gui/window/application.h"
#include "gui/window/main_window.h"
#include "gui/window/session_engine.h"

using namespace qllama;

namespace {

class NoFiles final : public FileChooser {
public:
    void openFile(QWidget*, const QString&, const QString&, const Answer&) override {}
    void openFolder(QWidget*, const QString&, const Answer&) override {}
    void saveFile(QWidget*, const QString&, const QString&, const Answer&) override {}
};

[[noreturn]] void fail(const std::string& message) {
    QTextStream(stderr) << QString::fromStdString(message) << '\n';
    std::exit(1);
}

void waitUntilLoaded(EngineController& engine) {
    QEventLoop loop;
    QObject::connect(&engine, &EngineController::modelLoaded, &loop, &QEventLoop::quit);
    QObject::connect(&engine, &EngineController::loadFailed, &loop,
                     [](quint64, const Error& error) { fail(error.text()); });
    loop.exec();
}

double msPerToken(EngineController& engine, const GenerationRequest& request) {
    QEventLoop loop;
    double ms = 0;
    QObject::connect(&engine, &EngineController::generationFinished, &loop,
                     [&](quint64, const GenerationResult& result) {
                         ms = result.statistics.msPerToken;
                         loop.quit();
                     });
    QObject::connect(&engine, &EngineController::generationFailed, &loop,
                     [](quint64, const Error& error) { fail(error.text()); });
    engine.generate(request);
    loop.exec();
    return ms;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

std::unique_ptr<MainWindow> openWindow(const QTemporaryDir& folder, const LoadRequest& request) {
    WindowServices services;
    services.engine = std::make_unique<SessionEngine>();
    services.files = std::make_unique<NoFiles>();
    services.settings =
        std::make_unique<QSettings>(folder.filePath(QStringLiteral("s.ini")), QSettings::IniFormat);
    services.listDevices = [] { return DeviceList{}; };
    services.plan = [](const LoadRequest& wanted) { return planModel(wanted, {}); };
    services.weightCacheFolder = request.weightCacheFolder;
    auto window = std::make_unique<MainWindow>(std::move(services));
    window->resize(1200, 800);
    window->show();
    window->findChild<QDockWidget*>(QStringLiteral("speedDock"))->show();
    WindowStart start;
    start.load = request;
    window->start(start);
    return window;
}

}  // namespace

int main(int argc, char** argv) {
    QApplication application(argc, argv);
    prepareApplication();
    const QStringList words = QApplication::arguments();
    const auto word = [&words](int index, const char* otherwise) {
        return words.value(index, QString::fromLatin1(otherwise));
    };
    LoadRequest load;
    load.location.model = word(1, "").toStdString();
    const auto precision = precisionFromKey(word(2, "source").toStdString());
    const int rounds = word(3, "5").toInt();
    GenerationRequest request;
    request.maxTokens = word(4, "64").toInt();
    request.seed = 1;
    request.ignoreEos = true;
    request.prompt = "Once upon a time";
    if (words.size() < 2 || !precision || rounds < 1 || request.maxTokens < 2) return 2;
    load.precision = *precision;
    load.weightCacheFolder = defaultWeightCacheFolder();
    QTemporaryDir folder;

    const auto window = openWindow(folder, load);
    waitUntilLoaded(window->engine());
    EngineController unwatched(std::make_unique<SessionEngine>());
    unwatched.load(load);
    waitUntilLoaded(unwatched);
    std::vector<double> shown, hidden, ratios;
    for (int round = -1; round < rounds; ++round) {
        const double inWindow = msPerToken(window->engine(), request);
        const double alone = msPerToken(unwatched, request);
        if (round < 0) continue;  // pages and pipelines settle
        shown.push_back(inWindow);
        hidden.push_back(alone);
        ratios.push_back(inWindow / alone);
    }
    QTextStream(stdout) << "in the window " << median(shown) << " ms/token, unwatched "
                        << median(hidden) << "; " << median(ratios) << " times as long ("
                        << *std::min_element(ratios.begin(), ratios.end()) << " to "
                        << *std::max_element(ratios.begin(), ratios.end()) << ")\n";
    return 0;
}
