// A window as a test needs it: its own settings file, dialogs that answer by themselves, and the
// engine that the test wants.
#pragma once

#include <QAbstractButton>
#include <QAction>
#include <QDropEvent>
#include <QLabel>
#include <QMimeData>
#include <QSettings>
#include <QTemporaryDir>
#include <QTest>
#include <memory>
#include <semaphore>

#include "gui/window/main_window.h"
#include "gui/window/output_view.h"
#include "tests/gui/scripted_engine.h"

namespace qllama {

// Answers every question with `answer`; an empty one is the user closing the dialog.
class AnsweringFileChooser final : public FileChooser {
public:
    explicit AnsweringFileChooser(QString& answer) : m_answer(answer) {}

    void openFile(QWidget*, const QString&, const QString&, const Answer& answer) override {
        give(answer);
    }
    void openFolder(QWidget*, const QString&, const Answer& answer) override { give(answer); }
    void saveFile(QWidget*, const QString&, const QString&, const Answer& answer) override {
        give(answer);
    }

private:
    void give(const Answer& answer) {
        if (!m_answer.isEmpty()) answer(m_answer);
    }
    QString& m_answer;
};

// A start with this model.
inline WindowStart startWith(const std::filesystem::path& model) {
    WindowStart start;
    start.load.emplace();
    start.load->location.model = model;
    return start;
}

struct WindowFixture {
    QTemporaryDir folder;
    QString answer;  // of the next dialogs
    DeviceList devices;
    std::function<DeviceList()> listDevices;  // instead of `devices`
    std::function<Result<PlacementPlan>(const LoadRequest&)> plan = [](const LoadRequest& request) {
        return planModel(request, {});
    };
    std::optional<std::filesystem::path> demoModel;
    std::unique_ptr<MainWindow> window;

    // Also a second time, with the settings that the first window left.
    void open(std::unique_ptr<TextEngine> engine, const WindowStart& start = {}) {
        window.reset();
        WindowServices services;
        services.engine = std::move(engine);
        services.files = std::make_unique<AnsweringFileChooser>(answer);
        services.settings = std::make_unique<QSettings>(folder.filePath(QStringLiteral("s.ini")),
                                                        QSettings::IniFormat);
        services.listDevices = listDevices ? listDevices : [list = devices] { return list; };
        services.plan = plan;
        services.demoModel = demoModel;
        services.weightCacheFolder = folder.filePath(QStringLiteral("weights")).toStdString();
        window = std::make_unique<MainWindow>(std::move(services));
        window->resize(1000, 700);
        window->show();
        window->start(start);
    }

    // Shown and with the keyboard; an X server without a window manager does not see to it itself.
    [[nodiscard]] bool becomesActive() const {
        if (!QTest::qWaitForWindowExposed(window.get())) return false;
        window->activateWindow();
        return QTest::qWaitForWindowActive(window.get());
    }

    template <typename Widget>
    Widget* find(const char* name) const {
        return window->findChild<Widget*>(QLatin1String(name));
    }

    // The text of a label: empty when it is not shown.
    [[nodiscard]] QString label(const char* name) const {
        const auto* found = find<QLabel>(name);
        return found && found->isVisible() ? found->text() : QString();
    }

    [[nodiscard]] QAction* action(const QString& text) const {
        for (QAction* candidate : window->findChildren<QAction*>())
            if (candidate->text().remove(u'&') == text) return candidate;
        return nullptr;
    }

    void click(const char* button) const {
        QTest::mouseClick(find<QAbstractButton>(button), Qt::LeftButton);
    }

    // Waits until the search for devices, which runs beside everything else, is over.
    [[nodiscard]] bool knowsDevices() const {
        return QTest::qWaitFor([this] { return find<QAction>("deviceSearch") != nullptr; }, 60000);
    }

    // Waits until the engine has nothing to do.
    [[nodiscard]] bool becomesIdle() const {
        return QTest::qWaitFor(
            [this] {
                const auto state = window->engine().state();
                return state == EngineController::State::Ready ||
                       state == EngineController::State::Empty;
            },
            60000);
    }
};

// As the system does it: a drop reaches only what accepted the drag.
inline void dropOn(QWidget* widget, const QString& path) {
    QMimeData data;
    data.setUrls({QUrl::fromLocalFile(path)});
    QDragEnterEvent enter(QPoint(5, 5), Qt::CopyAction, &data, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(widget, &enter);
    QVERIFY(enter.isAccepted());
    QDropEvent drop(QPointF(5, 5), Qt::CopyAction, &data, Qt::LeftButton, Qt::NoModifier);
    QApplication::sendEvent(widget, &drop);
}

inline GenerationResult resultOf(StopReason reason, std::string text) {
    GenerationResult result;
    result.reason = reason;
    result.text = std::move(text);
    result.statistics.seed = 77;
    result.statistics.tokenCount = 2;
    result.statistics.msPerToken = 4;
    result.statistics.tokensPerSecond = 250;
    result.statistics.contextUsed = 5;
    result.statistics.contextLength = 512;
    return result;
}

// A window whose engine follows a script; without another one it takes every model but broken.pth,
// goes on with " upon a time", and what it was asked for is kept.
struct ScriptedWindow : WindowFixture {
    std::shared_ptr<ScriptedEngine::Script> script = std::make_shared<ScriptedEngine::Script>();
    std::vector<LoadRequest> loads;
    std::vector<GenerationRequest> requests;
    std::binary_semaphore reached{0};
    std::counting_semaphore<> mayEnd{0};  // for what the script makes wait

    ScriptedWindow() {
        script->load = [this](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            loads.push_back(request);
            if (request.location.model.filename() == "broken.pth")
                return Error{ErrorCode::InvalidFile, "The file ends too early.", "broken.pth"};
            return ScriptedEngine::modelInfo(request);
        };
        script->generate = [this](const GenerationRequest& request, GenerationSink& sink,
                                  auto&&) -> Result<GenerationResult> {
            requests.push_back(request);
            sink.promptStarted(3, 77);
            sink.promptDone({});
            sink.tokenReady(chunkOf(" upon", 0.9F));
            sink.tokenReady(chunkOf(" a time", 0.1F));
            return resultOf(StopReason::EndOfText, " upon a time");
        };
    }
    // The engine's thread, which keeps what it is asked for, ends before what it keeps it in.
    ~ScriptedWindow() {
        mayEnd.release(100);  // of a test that failed before it did
        window.reset();
    }
    ScriptedWindow(const ScriptedWindow&) = delete;
    ScriptedWindow& operator=(const ScriptedWindow&) = delete;

    void openScripted(const WindowStart& start = {}) {
        open(std::make_unique<ScriptedEngine>(script), start);
        QVERIFY(becomesActive());
    }
    void openIdle(const WindowStart& start = startWith("/models/fable")) {
        openScripted(start);
        QVERIFY(knowsDevices());
        QVERIFY(becomesIdle());
    }
    // Runs from now on do what `begin` does, tell through `reached`, and go on until they are stopped.
    void runUntilStopped(std::function<void(GenerationSink&)> begin, std::string text = {}) {
        script->generate = [this, begin = std::move(begin), text = std::move(text)](
                               auto&&, GenerationSink& sink,
                               const std::stop_token& stop) -> Result<GenerationResult> {
            begin(sink);
            reached.release();
            waitForStop(stop);
            return resultOf(StopReason::Cancelled, text);
        };
    }
    // A load that reports `done` and goes on until it is cancelled, likewise.
    void loadUntilStopped(LoadProgress done) {
        script->load = [this, done](auto&&, const LoadProgressSink& progress,
                                    const std::stop_token& stop) -> Result<ModelInfo> {
            progress(done);
            reached.release();
            waitForStop(stop);
            return cancelledError();
        };
    }
    void generate() {
        click("generateButton");
        QVERIFY(becomesIdle());
    }
    OutputView* output() { return find<OutputView>("outputView"); }
};

}  // namespace qllama
