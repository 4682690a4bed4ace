// How the window comes to a model: what it starts with, opening, dropping, what is missing and what is
// broken, with an engine that does what each test says.
#include <QPushButton>
#include <QSpinBox>
#include <QToolButton>
#include <chrono>

#include "gui/window/activity_bar.h"
#include "gui/window/application.h"
#include "gui/window/device_menu.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;
using namespace std::chrono_literals;
using State = EngineController::State;

class TestWindowModels : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() { m_window = std::make_unique<ScriptedWindow>(); }
    void cleanup() { m_window.reset(); }

    void startsWithNothing() {
        m_window->openScripted();
        QCOMPARE(m_window->window->engine().state(), State::Empty);
        QVERIFY(!m_window->find<QPushButton>("generateButton")->isEnabled());
        QVERIFY(!m_window->find<QPushButton>("stopButton")->isEnabled());
        QVERIFY(m_window->find<OutputView>("outputView")->hint().contains("Open a model"));
        QCOMPARE(m_window->label("statusModel"), "No model");
    }

    void startsWithTheDemoModelThenTheLastOne() {
        m_window->demoModel = "/models/demo";
        m_window->openIdle({});
        QCOMPARE(m_window->loads.back().location.model, "/models/demo");
        m_window->answer = "/models/mine";
        m_window->action("Open Model Folder…")->trigger();
        QVERIFY(m_window->becomesIdle());
        m_window->window->close();
        m_window->openIdle({});
        QCOMPARE(m_window->loads.back().location.model, "/models/mine");
        m_window->openIdle(startWith("/models/told"));
        QCOMPARE(m_window->loads.back().location.model, "/models/told");
    }

    void aBrokenFileLeavesTheModelAlone() {
        m_window->script->keepsModelOnFailure = true;
        m_window->openIdle();
        m_window->answer = "/models/broken.pth";
        m_window->action("Open Model File…")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("messageText"),
                 "models/broken.pth could not be loaded. The file ends too early. "
                 "fable is still loaded.");
        m_window->generate();
        QVERIFY(m_window->output()->toPlainText().contains("upon a time"));
        QCOMPARE(m_window->label("messageText"), QString());
        m_window->window->close();
        m_window->openIdle({});  // the broken one is not tried again
        QCOMPARE(m_window->loads.back().location.model, "/models/fable");
    }

    // "mine" is there already when broken.pth is asked for, but the window has not heard of it yet.
    void theModelThatCameLateIsTheOneInUse() {
        m_window->script->keepsModelOnFailure = true;
        m_window->openIdle();
        m_window->answer = "/models/mine";
        m_window->action("Open Model Folder…")->trigger();
        m_window->answer = "/models/broken.pth";
        m_window->action("Open Model File…")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->engine().model()->name, "mine");
        QCOMPARE(m_window->label("messageText"),
                 "models/broken.pth could not be loaded. The file ends too early. "
                 "mine is still loaded.");
        m_window->action("Load Again")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().location.model, "/models/mine");
        m_window->window->close();
        m_window->openIdle({});
        QCOMPARE(m_window->loads.back().location.model, "/models/mine");
    }

    void aMissingTokenizerIsAskedFor() {
        m_window->script->load = [this](const LoadRequest& request,
                                        auto&&...) -> Result<ModelInfo> {
            m_window->loads.push_back(request);
            if (!request.location.tokenizer)
                return Error{ErrorCode::NotFound, "There is no tokenizer.", "tokenizer.model"};
            return ScriptedEngine::modelInfo(request);
        };
        m_window->openIdle();
        QCOMPARE(m_window->label("messageText"),
                 "fable could not be loaded. There is no tokenizer.");
        m_window->click("messageAction");  // and the user thinks better of it
        QCOMPARE(m_window->label("messageText"),
                 "fable could not be loaded. There is no tokenizer.");
        m_window->answer = "/elsewhere/tokenizer.model";
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().location.tokenizer.value(), "/elsewhere/tokenizer.model");
        QCOMPARE(m_window->window->engine().state(), State::Ready);
        m_window->window->close();
        m_window->openIdle({});  // and remembered
        QCOMPARE(m_window->window->engine().state(), State::Ready);
    }

    void missingParamsAreAskedFor() {
        m_window->script->load = [this](const LoadRequest& request,
                                        auto&&...) -> Result<ModelInfo> {
            m_window->loads.push_back(request);
            if (!request.location.params)
                return Error{ErrorCode::NotFound, "params.json is missing.", "/models/params.json"};
            return ScriptedEngine::modelInfo(request);
        };
        m_window->openIdle(startWith("/models/fable.pth"));
        QVERIFY(m_window->label("messageText").endsWith("params.json is missing."));
        m_window->click("messageAction");
        QVERIFY(m_window->label("messageText").endsWith("params.json is missing."));
        m_window->answer = "/elsewhere/params.json";
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().location.params.value(), "/elsewhere/params.json");
        QCOMPARE(m_window->window->engine().state(), State::Ready);
    }

    void aWrongFileBesideTheModelIsNamedAndAskedForAgain_data() {
        QTest::addColumn<bool>("isTokenizer");
        QTest::addColumn<QString>("missing");
        QTest::addColumn<QString>("button");
        QTest::newRow("tokenizer") << true << "tokenizer.model"
                                   << "Choose Tokenizer…";
        QTest::newRow("params") << false << "/models/params.json"
                                << "Choose params.json…";
    }

    void aWrongFileBesideTheModelIsNamedAndAskedForAgain() {
        QFETCH(bool, isTokenizer);
        QFETCH(QString, missing);
        QFETCH(QString, button);
        m_window->script->keepsModelOnFailure = true;
        m_window->openIdle(startWith("/models/old"));
        m_window->script->load = [&](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            m_window->loads.push_back(request);
            const auto& chosen = isTokenizer ? request.location.tokenizer : request.location.params;
            if (!chosen) return Error{ErrorCode::NotFound, "It is missing.", missing.toStdString()};
            if (chosen->filename() == "wrong.txt")
                return Error{ErrorCode::InvalidFile, "This is something else.", chosen->string()};
            return ScriptedEngine::modelInfo(request);
        };
        m_window->answer = "/models/fable";
        m_window->action("Open Model Folder…")->trigger();
        QVERIFY(m_window->becomesIdle());
        m_window->answer = "/elsewhere/wrong.txt";
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("messageText"),
                 "fable could not be loaded. wrong.txt: This is something else. "
                 "old is still loaded.");
        auto* again = m_window->find<QAbstractButton>("messageAction");
        QVERIFY(again->isVisible());
        QCOMPARE(again->text(), button);
        m_window->answer.clear();
        m_window->click("messageAction");
        QVERIFY(again->isVisible());
        m_window->action("Load Again")->trigger();  // is about the model that is there
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().location.model, "/models/old");
        m_window->answer = "/models/fable";
        m_window->action("Open Model Folder…")->trigger();
        QVERIFY(m_window->becomesIdle());
        m_window->answer = "/elsewhere/right";
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->windowTitle(), "fable – QLLaMA");
        QCOMPARE(m_window->label("messageText"), QString());
    }

    void progressOfALoadIsShownAndCancelled_data() {
        QTest::addColumn<LoadWork>("work");
        QTest::addColumn<QString>("text");
        QTest::newRow("as they are") << LoadWork::None << "Loading fable: 500 bytes of 1.95 KiB";
        QTest::newRow("quantised")
            << LoadWork::Quantising << "Quantising fable: 500 bytes of 1.95 KiB";
        QTest::newRow("packed") << LoadWork::Packing << "Packing fable: 500 bytes of 1.95 KiB";
    }

    void progressOfALoadIsShownAndCancelled() {
        QFETCH(LoadWork, work);
        QFETCH(QString, text);
        m_window->loadUntilStopped({.doneBytes = 500, .totalBytes = 2000, .work = work});
        m_window->openScripted(startWith("/models/fable"));
        m_window->reached.acquire();
        auto* activity = m_window->find<ActivityBar>("activityBar");
        QTRY_COMPARE(activity->text(), text);
        m_window->click("stopButton");
        QVERIFY(m_window->becomesIdle());
        QVERIFY(activity->text().isEmpty());
        QCOMPARE(m_window->label("messageText"), QString());  // cancelling is no error
    }

    void compilingIsNamedWhileItLasts() {
        m_window->script->load = [this](const LoadRequest& request,
                                        const LoadProgressSink& progress,
                                        const std::stop_token& stop) -> Result<ModelInfo> {
            progress({.doneBytes = 500, .totalBytes = 2000});
            for (const char* device : {"opencl:0", ""}) {
                progress({.doneBytes = 500, .totalBytes = 2000, .compilingDevice = device});
                while (!stop.stop_requested() && !m_window->reached.try_acquire_for(10ms)) {
                }
            }
            return ScriptedEngine::modelInfo(request);
        };
        DeviceInfo card;
        card.id = "opencl:0";
        card.name = "Radeon";
        m_window->devices.devices = {card};
        m_window->openScripted();
        auto* devices = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(!devices->devices().devices.empty());
        m_window->answer = "/models/fable";
        m_window->action("Open Model Folder…")->trigger();
        auto* activity = m_window->find<ActivityBar>("activityBar");
        QTRY_COMPARE(activity->text(), "Compiling the kernels of Radeon for fable");
        m_window->reached.release();
        QTRY_COMPARE(activity->text(), "Loading fable: 500 bytes of 1.95 KiB");
        m_window->reached.release();
        QVERIFY(m_window->becomesIdle());
        QVERIFY(activity->text().isEmpty());
    }

    void aCancelledLoadLeavesWhatWasThere() {
        m_window->script->keepsModelOnFailure = true;
        m_window->openIdle();
        m_window->loadUntilStopped({});
        auto* devices = m_window->find<DeviceMenu>("deviceMenu");
        devices->findChild<QAction*>("device:auto")->trigger();
        m_window->reached.acquire();
        QCOMPARE(devices->current(), "auto");
        QTest::keyClick(m_window->window.get(), Qt::Key_Escape);
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->engine().state(), State::Ready);
        QCOMPARE(devices->current(), "cpu");
        QCOMPARE(m_window->window->windowTitle(), "fable – QLLaMA");
    }

    void aStoppedLoadThatHadTheOldModelGivenUpSaysSo_data() {
        QTest::addColumn<QString>("model");
        QTest::addColumn<QString>("text");
        QTest::newRow("another") << "/models/other"
                                 << "Loading other was stopped when fable had already made room "
                                    "for it. No model is loaded now.";
        QTest::newRow("the same") << "/models/fable"
                                  << "Loading fable was stopped. No model is loaded now.";
    }

    void aStoppedLoadThatHadTheOldModelGivenUpSaysSo() {
        QFETCH(QString, model);
        QFETCH(QString, text);
        m_window->openIdle();
        const auto load = m_window->script->load;
        m_window->loadUntilStopped({});
        m_window->answer = model;
        m_window->action("Open Model Folder…")->trigger();
        m_window->reached.acquire();
        m_window->click("stopButton");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("statusModel"), "No model");
        QCOMPARE(m_window->label("messageText"), text);
        QCOMPARE(m_window->find<QAbstractButton>("messageAction")->text(), "Load Again");
        m_window->script->load = load;
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->windowTitle(), "fable – QLLaMA");
        QCOMPARE(m_window->label("messageText"), QString());
    }

    void settingsAreAppliedOnlyOnce() {
        m_window->script->keepsModelOnFailure = true;
        m_window->openIdle();
        m_window->loadUntilStopped({});
        auto* apply = m_window->find<QPushButton>("applyLoad");
        auto* context = m_window->find<QSpinBox>("contextLength");
        context->setValue(128);
        QVERIFY(apply->isEnabled());
        m_window->click("applyLoad");
        m_window->reached.acquire();
        QVERIFY(!apply->isEnabled());
        context->setValue(256);
        QVERIFY(apply->isEnabled());  // other ones than those that are being applied
        context->setValue(128);
        QVERIFY(!apply->isEnabled());
        m_window->click("stopButton");
        QVERIFY(m_window->becomesIdle());
        QVERIFY(apply->isEnabled());
    }

    // They stay in the panel, to be mended; the next start does without them.
    void settingsThatFailedAreNotTriedAgain() {
        m_window->script->keepsModelOnFailure = true;
        m_window->script->load = [this](const LoadRequest& request,
                                        auto&&...) -> Result<ModelInfo> {
            m_window->loads.push_back(request);
            if (request.contextLength.value_or(0) > 1000)
                return Error{ErrorCode::OutOfMemory, "The context is too large.", {}};
            return ScriptedEngine::modelInfo(request);
        };
        const auto apply = [this](int length, int threads) {
            m_window->find<QSpinBox>("contextLength")->setValue(length);
            m_window->find<QSpinBox>("threads")->setValue(threads);
            m_window->click("applyLoad");
            return m_window->becomesIdle();
        };
        m_window->openIdle();
        QVERIFY(apply(500, 1));
        QVERIFY(apply(2000, 2));
        QVERIFY(m_window->label("messageText").contains("The context is too large."));
        QCOMPARE(m_window->find<QSpinBox>("contextLength")->value(), 2000);
        m_window->window->close();
        m_window->openIdle({});
        QCOMPARE(m_window->loads.back().contextLength, 500);
        QCOMPARE(m_window->loads.back().threadCount, 1);
        // What was mended, but not applied yet, is another matter.
        QVERIFY(apply(2000, 1));
        m_window->find<QSpinBox>("contextLength")->setValue(700);
        m_window->window->close();
        m_window->openIdle({});
        QCOMPARE(m_window->loads.back().contextLength, 700);
    }

    void aFailureThatCostTheOldModelSaysSo() {
        m_window->openIdle();
        m_window->answer = "/models/broken.pth";
        m_window->action("Open Model File…")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("messageText"),
                 "models/broken.pth could not be loaded. The file ends too early. "
                 "No model is loaded now.");
        m_window->action("Load Again")->trigger();  // not what failed
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->windowTitle(), "fable – QLLaMA");
    }

    void aPromptFileThatCannotBeReadIsNamedAtTheStart() {
        WindowStart start = startWith("/models/fable");
        start.promptFile = m_window->folder.filePath("missing.txt").toStdString();
        m_window->openIdle(start);
        const QString text = m_window->label("messageText");
        QVERIFY2(text.startsWith("Cannot read the text: "), qPrintable(text));
    }

    // Not the file that was opened, where another one beside it is wrong.
    void theFileThatIsWrongIsNamed() {
        const std::filesystem::path folder = m_window->folder.path().toStdString();
        const std::filesystem::path shard = folder / "consolidated.01.pth";
        QFile file(QString::fromStdString(shard.string()));
        QVERIFY(file.open(QIODevice::WriteOnly));
        m_window->script->load = [&shard](auto&&...) -> Result<ModelInfo> {
            return Error{ErrorCode::InvalidFile, "The file ends too early.", shard.string()};
        };
        const QString ending = "could not be loaded. consolidated.01.pth: The file ends too early.";
        m_window->openIdle(startWith(folder / "params.json"));
        QVERIFY(m_window->label("messageText").contains("params.json " + ending));
        m_window->openIdle(startWith(folder));
        QVERIFY(m_window->label("messageText").contains(ending));
        m_window->openIdle(startWith(shard));
        QVERIFY(m_window->label("messageText")
                    .endsWith("could not be loaded. The file ends too early."));
    }

    void notesOfAModelGoWithIt() {
        m_window->script->load = [](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.notes = {"Some matrices cannot be packed."};
            return info;
        };
        m_window->openIdle();
        QCOMPARE(m_window->label("messageText"), "Some matrices cannot be packed.");
        m_window->action("Unload")->trigger();
        QTRY_COMPARE(m_window->label("statusModel"), "No model");
        QCOMPARE(m_window->label("messageText"), "");
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
        m_window->openScripted();
        const QString path = m_window->folder.filePath(name);
        dropOn(m_window->window.get(), path);
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.size(), isModel ? 1U : 0U);
        QCOMPARE(m_window->label("messageText").contains("is not a model"), !isModel);
    }

    void aNewModelDuringARunEndsTheRun() {
        m_window->runUntilStopped([](GenerationSink& sink) {
            sink.promptStarted(1, 1);
            sink.promptDone({});
        });
        m_window->openIdle();
        m_window->click("generateButton");
        m_window->reached.acquire();
        m_window->answer = "/models/other";
        m_window->action("Open Model Folder…")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->windowTitle(), "other – QLLaMA");
        QVERIFY(m_window->find<ActivityBar>("activityBar")->text().isEmpty());
    }

    void closingInTheMiddleOfALoadEnds() {
        m_window->loadUntilStopped({});
        m_window->openScripted(startWith("/models/fable"));
        m_window->reached.acquire();
        m_window->window->close();
        m_window->window.reset();
    }

private:
    std::unique_ptr<ScriptedWindow> m_window;
};

QTEST_MAIN(TestWindowModels)
#include "test_window_models.moc"
