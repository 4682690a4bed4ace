// What showing the text costs the engine: the same run in the window, with every token coloured and
// the speed dock open, and in an engine thread that nobody watches, in turns. Prints medians of
// ms/token and the median of the ratios of neighbouring turns, and how much of a core the window's
// thread takes: where the engine uses all cores it is taken from the engine.
//   bench_window_streaming MODEL [PRECISION [ROUNDS [TOKENS [THREADS]]]]      (needs a display, or
//                                                                  QT_QPA_PLATFORM=offscreen)
#include <QApplication>
#include <QDockWidget>
#include <QEventLoop>
#include <QTemporaryDir>
#include <QTextStream>
#include <algorithm>
#include <chrono>
#include <ctime>

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

double cpuSecondsOfThisThread() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
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
    load.threadCount = word(5, "0").toInt();
    load.weightCacheFolder = defaultWeightCacheFolder();
    QTemporaryDir folder;

    const auto window = openWindow(folder, load);
    waitUntilLoaded(window->engine());
    EngineController unwatched(std::make_unique<SessionEngine>());
    unwatched.load(load);
    waitUntilLoaded(unwatched);
    std::vector<double> shown, hidden, ratios, shares;
    for (int round = -1; round < rounds; ++round) {
        const double cpuBefore = cpuSecondsOfThisThread();
        const auto start = std::chrono::steady_clock::now();
        const double inWindow = msPerToken(window->engine(), request);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        const double cpu = cpuSecondsOfThisThread() - cpuBefore;
        const double alone = msPerToken(unwatched, request);
        if (round < 0) continue;  // pages and pipelines settle
        shown.push_back(inWindow);
        hidden.push_back(alone);
        ratios.push_back(inWindow / alone);
        shares.push_back(cpu / took.count());
    }
    QTextStream(stdout) << "in the window " << median(shown) << " ms/token, unwatched "
                        << median(hidden) << "; " << median(ratios) << " times as long ("
                        << *std::min_element(ratios.begin(), ratios.end()) << " to "
                        << *std::max_element(ratios.begin(), ratios.end())
                        << "); the window's thread " << 100 * median(shares) << " % of a core\n";
    return 0;
}
