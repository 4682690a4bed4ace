// The window with an engine that does what each test says: what it shows, and what its controls ask
// of the engine.
#include <QAccessible>
#include <QDoubleSpinBox>
#include <QDropEvent>
#include <QFile>
#include <QLineEdit>
#include <QMimeData>
#include <QPushButton>
#include <QSignalSpy>
#include <QSpinBox>
#include <QStatusBar>
#include <QToolButton>
#include <semaphore>

#include "gui/window/activity_bar.h"
#include "gui/window/application.h"
#include "gui/window/device_menu.h"
#include "gui/window/output_view.h"
#include "gui/window/prompt_editor.h"
#include "tests/gui/scripted_engine.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;
using State = EngineController::State;

namespace {

GenerationResult resultOf(StopReason reason, std::string text) {
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

}  // namespace

class TestMainWindow : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }

    void init() {
        m_script = std::make_shared<ScriptedEngine::Script>();
        m_script->load = [this](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            m_loads.push_back(request);
            if (request.location.model.filename() == "broken.pth")
                return Error{ErrorCode::InvalidFile, "The file ends too early.", "broken.pth"};
            return ScriptedEngine::modelInfo(request);
        };
        m_script->generate = [this](const GenerationRequest& request, GenerationSink& sink,
                                    auto&&) -> Result<GenerationResult> {
            m_requests.push_back(request);
            sink.promptStarted(3, 77);
            sink.promptDone({});
            sink.tokenReady(chunkOf(" upon", 0.9F));
            sink.tokenReady(chunkOf(" a time", 0.1F));
            return resultOf(StopReason::EndOfText, " upon a time");
        };
        m_loads.clear();
        m_requests.clear();
        m_fixture = std::make_unique<WindowFixture>();
    }
    void cleanup() { m_fixture.reset(); }

    void startsWithNothing() {
        open();
        QCOMPARE(m_fixture->window->engine().state(), State::Empty);
        QVERIFY(!m_fixture->find<QPushButton>("generateButton")->isEnabled());
        QVERIFY(!m_fixture->find<QPushButton>("stopButton")->isEnabled());
        QVERIFY(m_fixture->find<OutputView>("outputView")->hint().contains("Open a model"));
        QCOMPARE(m_fixture->label("statusModel"), "No model");
    }

    void startsWithTheDemoModelThenTheLastOne() {
        m_fixture->demoModel = "/models/demo";
        open();
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().location.model, "/models/demo");
        m_fixture->answer = "/models/mine";
        m_fixture->action("Open Model Folder…")->trigger();
        QVERIFY(m_fixture->becomesIdle());
        m_fixture->window->close();
        open();
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().location.model, "/models/mine");
        open(startWith("/models/told"));
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().location.model, "/models/told");
    }

    void showsTheModelAndItsNumbers() {
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->window->windowTitle(), "fable – QLLaMA");
        QVERIFY(m_fixture->find<QToolButton>("modelPicker")->text().startsWith("fable"));
        QCOMPARE(m_fixture->label("statusModel"), "fable (f16)");
        QCOMPARE(m_fixture->label("statusDevice"), "Scripted processor");
        QCOMPARE(m_fixture->label("statusContext"), "Context 0 / 512");
        generate();
        QCOMPARE(m_fixture->label("statusTokens"), "2 tokens");
        QCOMPARE(m_fixture->label("statusMsPerToken"), "4.00 ms/token");
        QCOMPARE(m_fixture->label("statusTokensPerSecond"), "250 tokens/s");
        QCOMPARE(m_fixture->label("statusContext"), "Context 5 / 512");
        QCOMPARE(output()->toPlainText(),
                 "Once upon a time upon a time\n"
                 "End of text · 2 tokens · 4.00 ms/token · 250 tokens/s · seed 77");
        QCOMPARE(m_fixture->find<QLineEdit>("seedEdit")->text(), "77");
    }

    void asksForWhatTheControlsSay() {
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        m_fixture->find<QDoubleSpinBox>("temperature")->setValue(0);
        m_fixture->find<QDoubleSpinBox>("top-k")->setValue(3);
        m_fixture->find<QSpinBox>("maxTokens")->setValue(9);
        m_fixture->find<QPlainTextEdit>("stopStrings")->setPlainText("END\n\\n\\n");
        m_fixture->click("ignoreEos");
        m_fixture->click("seedRandom");
        m_fixture->find<QLineEdit>("seedEdit")->setText("5");
        m_fixture->find<PromptTextEdit>("promptEdit")->setPlainText("Grüße\u00a0!\n");
        generate();
        const GenerationRequest& request = m_requests.back();
        QCOMPARE(request.sampler.value("temperature"), 0.0);
        QCOMPARE(request.sampler.value("top-k"), 3.0);
        QCOMPARE(request.maxTokens, 9);
        QCOMPARE(request.stopStrings, (std::vector<std::string>{"END", "\n\n"}));
        QVERIFY(request.ignoreEos);
        QCOMPARE(request.seed.value(), 5ULL);
        QCOMPARE(request.prompt, std::string("Grüße\u00a0!\n"));
    }

    void keysGenerateAndStop() {
        std::binary_semaphore reached{0};
        m_script->generate = [&](auto&&, GenerationSink& sink,
                                 const std::stop_token& stop) -> Result<GenerationResult> {
            sink.promptStarted(1, 1);
            sink.promptDone({});
            sink.tokenReady(chunkOf(" there"));
            reached.release();
            waitForStop(stop);
            return resultOf(StopReason::Cancelled, " there");
        };
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        auto* prompt = m_fixture->find<PromptTextEdit>("promptEdit");
        QTest::keyClick(prompt, Qt::Key_Return, Qt::ControlModifier);
        QCOMPARE(m_fixture->window->engine().state(), State::Generating);
        QVERIFY(!m_fixture->find<QPushButton>("generateButton")->isEnabled());
        reached.acquire();
        QTest::keyClick(m_fixture->window.get(), Qt::Key_Escape);
        QVERIFY(m_fixture->becomesIdle());
        QVERIFY(output()->toPlainText().contains("there\nStopped"));
        QVERIFY(m_fixture->find<QPushButton>("generateButton")->isEnabled());
    }

    void aPromptThatIsRefusedIsExplained() {
        m_script->generate = [](auto&&...) -> Result<GenerationResult> {
            return Error{ErrorCode::InvalidRequest, "The prompt has 900 tokens, 512 fit.", {}};
        };
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        generate();
        QCOMPARE(m_fixture->label("messageText"), "The prompt has 900 tokens, 512 fit.");
        QVERIFY(output()->isBlank());
        m_fixture->click("messageClose");
        QCOMPARE(m_fixture->label("messageText"), QString());
    }

    void aBrokenFileLeavesTheModelAlone() {
        m_script->keepsModelOnFailure = true;
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        m_fixture->answer = "/models/broken.pth";
        m_fixture->action("Open Model File…")->trigger();
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->label("messageText"),
                 "models/broken.pth could not be loaded. The file ends too early. "
                 "fable is still loaded.");
        generate();
        QVERIFY(output()->toPlainText().contains("upon a time"));
        QCOMPARE(m_fixture->label("messageText"), QString());
        m_fixture->window->close();
        open();  // the broken one is not tried again
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().location.model, "/models/fable");
    }

    void aMissingTokenizerIsAskedFor() {
        m_script->load = [this](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            m_loads.push_back(request);
            if (!request.location.tokenizer)
                return Error{ErrorCode::NotFound, "There is no tokenizer.", "tokenizer.model"};
            return ScriptedEngine::modelInfo(request);
        };
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->label("messageText"),
                 "fable could not be loaded. There is no tokenizer.");
        m_fixture->answer = "/elsewhere/tokenizer.model";
        m_fixture->click("messageAction");
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().location.tokenizer.value(), "/elsewhere/tokenizer.model");
        QCOMPARE(m_fixture->window->engine().state(), State::Ready);
        m_fixture->window->close();
        open();  // and remembered
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->window->engine().state(), State::Ready);
    }

    void missingParamsAreAskedFor() {
        m_script->load = [this](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            m_loads.push_back(request);
            if (!request.location.params)
                return Error{ErrorCode::NotFound, "params.json is missing.", "/models/params.json"};
            return ScriptedEngine::modelInfo(request);
        };
        open(startWith("/models/fable.pth"));
        QVERIFY(m_fixture->becomesIdle());
        QVERIFY(m_fixture->label("messageText").endsWith("params.json is missing."));
        m_fixture->answer = "/elsewhere/params.json";
        m_fixture->click("messageAction");
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().location.params.value(), "/elsewhere/params.json");
        QCOMPARE(m_fixture->window->engine().state(), State::Ready);
    }

    void aDeviceThatFailsOffersTheProcessor() {
        m_script->load = [this](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            m_loads.push_back(request);
            if (request.device != "cpu") return Error{ErrorCode::Device, "The device is gone.", {}};
            return ScriptedEngine::modelInfo(request);
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:3";
        open(start);
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->window->engine().state(), State::Empty);
        QCOMPARE(m_fixture->label("messageText"), "fable could not be loaded. The device is gone.");
        m_fixture->click("messageAction");
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().device, "cpu");
        QCOMPARE(m_fixture->window->engine().state(), State::Ready);
    }

    void devicesAreListedAndChosen() {
        DeviceInfo cpu;
        cpu.id = "cpu";
        cpu.name = "Fast & Sons";
        cpu.simdTarget = "AVX2";
        DeviceInfo gpu;
        gpu.id = "opencl:0";
        gpu.name = "Big card";
        gpu.platform = "Some platform";
        gpu.globalMemoryBytes = 8LL << 30;
        m_fixture->devices = {{cpu, gpu}, {"A driver is missing."}};
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        auto* menu = m_fixture->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("device:opencl:0"));
        auto* cpuAction = menu->findChild<QAction*>("device:cpu");
        QVERIFY(cpuAction->isChecked());
        QCOMPARE(cpuAction->text(), "CPU: Fast && Sons (AVX2)");
        menu->findChild<QAction*>("device:opencl:0")->trigger();
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().device, "opencl:0");
        QVERIFY(m_fixture->find<QToolButton>("deviceButton")->text().startsWith("Big card"));
        menu->findChild<QAction*>("deviceDetails")->trigger();
        QCOMPARE(m_fixture->label("messageText"), "A driver is missing.");
        m_fixture->window->close();
        m_fixture->devices = {{cpu}, {}};
        open();
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().device, "opencl:0");
        menu = m_fixture->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("deviceDetails"));
        QCOMPARE(menu->findChild<QAction*>("device:opencl:0")->text(), "opencl:0 (not found)");
    }

    void progressOfALoadIsShownAndCancelled_data() {
        QTest::addColumn<bool>("quantising");
        QTest::addColumn<QString>("text");
        QTest::newRow("as they are") << false << "Loading fable: 500 bytes of 1.95 KiB";
        QTest::newRow("quantised") << true << "Quantising fable: 500 bytes of 1.95 KiB";
    }
    void progressOfALoadIsShownAndCancelled() {
        QFETCH(bool, quantising);
        QFETCH(QString, text);
        std::binary_semaphore reached{0};
        m_script->load = [&](auto&&, const LoadProgressSink& progress,
                             const std::stop_token& stop) -> Result<ModelInfo> {
            progress({.doneBytes = 500, .totalBytes = 2000, .isQuantising = quantising});
            reached.release();
            waitForStop(stop);
            return cancelledError();
        };
        open(startWith("/models/fable"));
        reached.acquire();
        auto* activity = m_fixture->find<ActivityBar>("activityBar");
        QTRY_COMPARE(activity->text(), text);
        QTRY_VERIFY(m_fixture->find<QToolButton>("activityCancel")->isVisible());
        m_fixture->click("activityCancel");
        QVERIFY(m_fixture->becomesIdle());
        QVERIFY(activity->text().isEmpty());
        QVERIFY(!m_fixture->find<QToolButton>("activityCancel")->isVisible());
        QCOMPARE(m_fixture->label("messageText"), QString());  // cancelling is no error
    }

    void progressOfThePromptIsShown() {
        std::binary_semaphore reached{0};
        m_script->generate = [&](auto&&, GenerationSink& sink,
                                 const std::stop_token& stop) -> Result<GenerationResult> {
            sink.promptStarted(400, 1);
            sink.promptProgress(100, 400);
            reached.release();
            waitForStop(stop);
            return resultOf(StopReason::Cancelled, "");
        };
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        m_fixture->click("generateButton");
        reached.acquire();
        auto* activity = m_fixture->find<ActivityBar>("activityBar");
        QTRY_COMPARE(activity->text(), "Reading the prompt: 100 of 400 tokens");
        m_fixture->click("stopButton");
        QVERIFY(m_fixture->becomesIdle());
        QVERIFY(activity->text().isEmpty());
    }

    void aPromptFileIsUsedByteForByte() {
        const QByteArray bytes("line\r\n\xff\xc3\xa9 \xc2\xa0 end\n\n");
        const QString path = m_fixture->folder.filePath("prompt.txt");
        QFile file(path);
        QVERIFY(file.open(QIODevice::WriteOnly) && file.write(bytes) == bytes.size());
        file.close();
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        m_fixture->answer = path;
        m_fixture->click("openPromptButton");
        QVERIFY(m_fixture->label("promptSource").contains("prompt.txt"));
        generate();
        QCOMPARE(QByteArray::fromStdString(m_requests.back().prompt), bytes);
        QTest::keyClicks(m_fixture->find<PromptTextEdit>("promptEdit"), "x");
        QVERIFY(m_fixture->label("promptSource").contains("edited"));
        generate();
        QVERIFY(QByteArray::fromStdString(m_requests.back().prompt) != bytes);
        m_fixture->answer = m_fixture->folder.filePath("missing.txt");
        m_fixture->click("openPromptButton");
        QVERIFY(m_fixture->label("messageText").contains("missing.txt") ||
                m_fixture->label("messageText").contains("file"));
    }

    void droppedModelsAreLoaded_data() {
        QTest::addColumn<QString>("name");
        QTest::addColumn<bool>("isModel");
        QTest::newRow("folder") << "." << true;
        QTest::newRow("pth") << "consolidated.00.pth" << true;
        QTest::newRow("params") << "params.json" << true;
        QTest::newRow("picture") << "llama.png" << false;
    }
    void droppedModelsAreLoaded() {
        QFETCH(QString, name);
        QFETCH(bool, isModel);
        open();
        const QString path = m_fixture->folder.filePath(name);
        dropOn(m_fixture->window.get(), path);
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.size(), isModel ? 1U : 0U);
        QCOMPARE(m_fixture->label("messageText").contains("is not a model"), !isModel);
    }

    void aTextDroppedOnThePromptIsOpened() {
        const QString path = m_fixture->folder.filePath("story.txt");
        QFile file(path);
        QVERIFY(file.open(QIODevice::WriteOnly) && file.write("A story") == 7);
        file.close();
        open();
        auto* prompt = m_fixture->find<PromptTextEdit>("promptEdit");
        dropOn(prompt->viewport(), path);
        QCOMPARE(prompt->toPlainText(), "A story");
        QVERIFY(m_fixture->label("promptSource").contains("story.txt"));
    }

    void theOutputIsSavedAndCleared() {
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        QAction* save = m_fixture->action("Save Output As…");
        QVERIFY(!save->isEnabled());
        generate();
        QVERIFY(save->isEnabled());
        const QString path = m_fixture->folder.filePath("out.txt");
        m_fixture->answer = path;
        save->trigger();
        QFile file(path);
        QVERIFY(file.open(QIODevice::ReadOnly));
        QCOMPARE(file.readAll(), "Once upon a time upon a time");
        m_fixture->answer = m_fixture->folder.filePath("no/such/folder/out.txt");
        save->trigger();
        QVERIFY(m_fixture->label("messageText").contains("could not be saved"));
        m_fixture->action("Clear Output")->trigger();
        QVERIFY(output()->isBlank());
        QVERIFY(!save->isEnabled());
    }

    void aNewModelDuringARunEndsTheRun() {
        std::binary_semaphore reached{0};
        m_script->generate = [&](auto&&, GenerationSink& sink,
                                 const std::stop_token& stop) -> Result<GenerationResult> {
            sink.promptStarted(1, 1);
            sink.promptDone({});
            reached.release();
            waitForStop(stop);
            return resultOf(StopReason::Cancelled, "");
        };
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        m_fixture->click("generateButton");
        reached.acquire();
        m_fixture->answer = "/models/other";
        m_fixture->action("Open Model Folder…")->trigger();
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->window->windowTitle(), "other – QLLaMA");
        QVERIFY(m_fixture->find<ActivityBar>("activityBar")->text().isEmpty());
    }

    void closingInTheMiddleOfALoadEnds() {
        std::binary_semaphore reached{0};
        m_script->load = [&](auto&&, auto&&, const std::stop_token& stop) -> Result<ModelInfo> {
            reached.release();
            waitForStop(stop);
            return cancelledError();
        };
        open(startWith("/models/fable"));
        reached.acquire();
        m_fixture->window->close();
        m_fixture->window.reset();
    }

    void closingInTheMiddleEnds() {
        std::binary_semaphore reached{0};
        m_script->generate = [&](auto&&, auto&&,
                                 const std::stop_token& stop) -> Result<GenerationResult> {
            reached.release();
            waitForStop(stop);
            return resultOf(StopReason::Cancelled, "");
        };
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        m_fixture->click("generateButton");
        reached.acquire();
        m_fixture->window->close();
        m_fixture->window.reset();
    }

    void everyControlHasANameAndCanBeReached() {
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        QStringList unnamed;
        QSet<QWidget*> inTabOrder;
        for (QWidget* widget = m_fixture->window->nextInFocusChain();
             widget != m_fixture->window.get(); widget = widget->nextInFocusChain())
            inTabOrder.insert(widget);
        for (QWidget* widget : m_fixture->window->findChildren<QWidget*>()) {
            if (!widget->isVisible() || widget->focusPolicy() == Qt::NoFocus) continue;
            if (widget->focusProxy() || widget->parentWidget()->inherits("QAbstractSpinBox"))
                continue;
            if (qobject_cast<QLabel*>(widget) || widget->inherits("QDockWidget")) continue;
            const QAccessibleInterface* accessible = QAccessible::queryAccessibleInterface(widget);
            if (!accessible || accessible->text(QAccessible::Name).isEmpty())
                unnamed +=
                    QLatin1String(widget->metaObject()->className()) + u' ' + widget->objectName();
            QVERIFY(inTabOrder.contains(widget));
        }
        QVERIFY2(unnamed.isEmpty(), qPrintable(unnamed.join(u'\n')));
        for (QToolButton* button : m_fixture->window->findChildren<QToolButton*>())
            if (button->isVisible() && button->objectName() != u"qt_toolbar_ext_button")
                QVERIFY2(!button->toolTip().isEmpty() || !button->text().isEmpty(),
                         qPrintable(button->objectName()));
    }

    void fitsASmallScreen() {
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        const QSize smallest = m_fixture->window->minimumSizeHint();
        QVERIFY2(
            smallest.width() <= 800 && smallest.height() <= 560,
            qPrintable(QStringLiteral("%1 x %2").arg(smallest.width()).arg(smallest.height())));
    }

private:
    // As the system does it: a drop reaches only what accepted the drag.
    static void dropOn(QWidget* widget, const QString& path) {
        QMimeData data;
        data.setUrls({QUrl::fromLocalFile(path)});
        QDragEnterEvent enter(QPoint(5, 5), Qt::CopyAction, &data, Qt::LeftButton, Qt::NoModifier);
        QApplication::sendEvent(widget, &enter);
        QVERIFY(enter.isAccepted());
        QDropEvent drop(QPointF(5, 5), Qt::CopyAction, &data, Qt::LeftButton, Qt::NoModifier);
        QApplication::sendEvent(widget, &drop);
    }
    void open(const WindowStart& start = {}) {
        m_fixture->open(std::make_unique<ScriptedEngine>(m_script), start);
        QVERIFY(m_fixture->becomesActive());
    }
    void generate() {
        m_fixture->click("generateButton");
        QVERIFY(m_fixture->becomesIdle());
    }
    OutputView* output() { return m_fixture->find<OutputView>("outputView"); }

    std::shared_ptr<ScriptedEngine::Script> m_script;
    std::vector<LoadRequest> m_loads;
    std::vector<GenerationRequest> m_requests;
    std::unique_ptr<WindowFixture> m_fixture;
};

QTEST_MAIN(TestMainWindow)
#include "test_main_window.moc"
