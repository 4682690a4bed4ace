// Runs at the window: what its controls ask of the engine and what it shows of the answer, with an
// engine that does what each test says.
#include <QDoubleSpinBox>
#include <QFile>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSpinBox>
#include <QToolButton>

#include <sys/stat.h>

#include "gui/window/activity_bar.h"
#include "gui/window/application.h"
#include "gui/window/prompt_editor.h"
#include "tests/gui/window_fixture.h"
#include "tests/support/small_disk.h"

using namespace qllama;
using State = EngineController::State;

class TestWindowRuns : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() { m_window = std::make_unique<ScriptedWindow>(); }
    void cleanup() { m_window.reset(); }

    void showsTheModelAndItsNumbers() {
        m_window->openIdle();
        QCOMPARE(m_window->window->windowTitle(), "fable – QLLaMA");
        QVERIFY(m_window->find<QToolButton>("modelPicker")->text().startsWith("fable"));
        QCOMPARE(m_window->label("statusModel"), "fable (f16)");
        QCOMPARE(m_window->label("statusDevice"), "Scripted processor");
        QCOMPARE(m_window->label("statusContext"), "Context 0 / 512");
        m_window->generate();
        QCOMPARE(m_window->label("statusTokens"), "2 tokens");
        QCOMPARE(m_window->label("statusMsPerToken"), "4.00 ms/token");
        QCOMPARE(m_window->label("statusTokensPerSecond"), "250 tokens/s");
        QCOMPARE(m_window->label("statusContext"), "Context 5 / 512");
        QCOMPARE(m_window->output()->toPlainText(),
                 "Once upon a time upon a time\n"
                 "End of text · 2 tokens · 4.00 ms/token · 250 tokens/s · seed 77");
        QCOMPARE(m_window->find<QLineEdit>("seedEdit")->text(), "77");
    }

    void asksForWhatTheControlsSay() {
        m_window->openIdle();
        m_window->find<QDoubleSpinBox>("temperature")->setValue(0);
        m_window->find<QDoubleSpinBox>("top-k")->setValue(3);
        m_window->find<QSpinBox>("maxTokens")->setValue(9);
        m_window->find<QPlainTextEdit>("stopStrings")->setPlainText("END\n\\n\\n");
        m_window->click("ignoreEos");
        m_window->click("seedRandom");
        m_window->find<QLineEdit>("seedEdit")->setText("5");
        m_window->find<PromptTextEdit>("promptEdit")->setPlainText("Grüße\u00a0!\n");
        m_window->generate();
        const GenerationRequest& request = m_window->requests.back();
        QCOMPARE(request.sampler.value("temperature"), 0.0);
        QCOMPARE(request.sampler.value("top-k"), 3.0);
        QCOMPARE(request.maxTokens, 9);
        QCOMPARE(request.stopStrings, (std::vector<std::string>{"END", "\n\n"}));
        QVERIFY(request.ignoreEos);
        QCOMPARE(request.seed.value(), 5ULL);
        QCOMPARE(request.prompt, std::string("Grüße\u00a0!\n"));
    }

    void keysGenerateAndStop() {
        m_window->runUntilStopped(
            [](GenerationSink& sink) {
                sink.promptStarted(1, 1);
                sink.promptDone({});
                sink.tokenReady(chunkOf(" there"));
            },
            " there");
        m_window->openIdle();
        auto* prompt = m_window->find<PromptTextEdit>("promptEdit");
        QTest::keyClick(prompt, Qt::Key_Return, Qt::ControlModifier);
        QCOMPARE(m_window->window->engine().state(), State::Generating);
        QVERIFY(!m_window->find<QPushButton>("generateButton")->isEnabled());
        m_window->reached.acquire();
        QTest::keyClick(m_window->window.get(), Qt::Key_Escape);
        QVERIFY(m_window->becomesIdle());
        QVERIFY(m_window->output()->toPlainText().contains("there\nStopped"));
        QVERIFY(m_window->find<QPushButton>("generateButton")->isEnabled());
    }

    void generateWhileLoadingFollowsTheLoad() {
        m_window->script->load = [this](const LoadRequest& request,
                                        const LoadProgressSink& progress,
                                        auto&&) -> Result<ModelInfo> {
            progress({500, 2000});
            m_window->reached.release();
            m_window->mayEnd.acquire();
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.notes = {"Not all of it fits there."};
            return info;
        };
        m_window->openScripted(startWith("/models/fable"));
        m_window->reached.acquire();
        auto* prompt = m_window->find<PromptTextEdit>("promptEdit");
        QTest::keyClick(prompt, Qt::Key_Return, Qt::ControlModifier);
        QVERIFY(!m_window->find<QPushButton>("generateButton")->isEnabled());
        QTRY_COMPARE(m_window->find<ActivityBar>("activityBar")->text(),
                     "Loading fable: 500 bytes of 1.95 KiB; the text follows");
        QVERIFY(m_window->output()->hint().contains("The text begins when it is there."));
        prompt->setPlainText("Once");  // one goes on writing
        m_window->mayEnd.release();
        QTRY_VERIFY(m_window->output()->toPlainText().contains("Once upon a time"));
        QCOMPARE(m_window->requests.size(), std::size_t{1});
        QCOMPARE(m_window->label("messageText"), "Not all of it fits there.");
        QVERIFY(m_window->becomesIdle());
        m_window->generate();  // the message of before has been read
        QCOMPARE(m_window->label("messageText"), QString());
    }

    void noTextFollowsALoadThatIsStopped() {
        const auto load = m_window->script->load;
        m_window->loadUntilStopped({500, 2000});
        m_window->openScripted(startWith("/models/fable"));
        m_window->reached.acquire();
        m_window->click("generateButton");
        QTest::keyClick(m_window->window.get(), Qt::Key_Escape);
        QVERIFY(m_window->becomesIdle());
        m_window->script->load = load;
        m_window->action("Load Again")->trigger();
        QVERIFY(m_window->becomesIdle());
        QVERIFY(m_window->knowsDevices());
        QVERIFY(m_window->requests.empty());
        QVERIFY(m_window->find<QPushButton>("generateButton")->isEnabled());
    }

    // Escape came when the load could not be stopped any more.
    void noTextFollowsALoadThatEndsAllTheSame() {
        m_window->script->load = [this](const LoadRequest& request,
                                        const LoadProgressSink& progress,
                                        auto&&) -> Result<ModelInfo> {
            progress({2000, 2000});
            m_window->reached.release();
            m_window->mayEnd.acquire();
            return ScriptedEngine::modelInfo(request);
        };
        m_window->openScripted(startWith("/models/fable"));
        m_window->reached.acquire();
        m_window->click("generateButton");
        auto* activity = m_window->find<ActivityBar>("activityBar");
        QTRY_VERIFY(activity->text().endsWith("; the text follows"));
        QTest::keyClick(m_window->window.get(), Qt::Key_Escape);
        QVERIFY(!activity->text().endsWith("; the text follows"));
        m_window->mayEnd.release();
        QVERIFY(m_window->becomesIdle());
        QVERIFY(m_window->knowsDevices());
        QCOMPARE(m_window->window->engine().state(), State::Ready);
        QVERIFY(m_window->requests.empty());
    }

    // The first model was asked for with a text, the second without at first; the first one's end, which
    // comes late, is none of the second.
    void theTextFollowsTheLoadThatItWasAskedFor() {
        m_window->script->load = [this](const LoadRequest& request,
                                        auto&&...) -> Result<ModelInfo> {
            m_window->reached.release();
            m_window->mayEnd.acquire();
            if (request.location.model.filename() == "fable") return cancelledError();
            return ScriptedEngine::modelInfo(request);
        };
        m_window->openScripted(startWith("/models/fable"));
        m_window->reached.acquire();
        auto* generate = m_window->find<QPushButton>("generateButton");
        m_window->click("generateButton");
        m_window->answer = "/models/mine";
        m_window->action("Open Model Folder…")->trigger();
        QVERIFY(generate->isEnabled());
        m_window->click("generateButton");
        QVERIFY(!generate->isEnabled());
        m_window->mayEnd.release();
        m_window->reached.acquire();
        m_window->mayEnd.release();
        QTRY_COMPARE(m_window->requests.size(), std::size_t{1});
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->engine().model()->name, "mine");
    }

    // Though a model is there: the one of before.
    void noTextFollowsALoadThatFails() {
        m_window->script->keepsModelOnFailure = true;
        m_window->openIdle();
        m_window->script->load = [this](auto&&...) -> Result<ModelInfo> {
            m_window->reached.release();
            m_window->mayEnd.acquire();
            return Error{ErrorCode::InvalidFile, "The file ends too early.", "broken.pth"};
        };
        m_window->action("Load Again")->trigger();
        m_window->reached.acquire();
        m_window->click("generateButton");
        m_window->mayEnd.release();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->engine().state(), State::Ready);
        QVERIFY(m_window->label("messageText").contains("The file ends too early."));
        QVERIFY(m_window->requests.empty());
    }

    void theKeyboardFollowsTheWork() {
        m_window->runUntilStopped([](GenerationSink& sink) { sink.promptStarted(1, 1); });
        m_window->openIdle();
        auto* prompt = m_window->find<PromptTextEdit>("promptEdit");
        QVERIFY(prompt->hasFocus());
        m_window->click("generateButton");
        m_window->reached.acquire();
        QVERIFY(prompt->hasFocus());  // one goes on writing
        m_window->click("stopButton");
        QVERIFY(m_window->becomesIdle());
        QTest::keyClick(prompt, Qt::Key_Tab);
        QVERIFY(m_window->find<QPushButton>("generateButton")->hasFocus());
        QTest::keyClick(m_window->find<QPushButton>("generateButton"), Qt::Key_Space);
        QVERIFY(m_window->find<QPushButton>("stopButton")->hasFocus());
        m_window->reached.acquire();
        QTest::keyClick(m_window->find<QPushButton>("stopButton"), Qt::Key_Space);
        QVERIFY(m_window->becomesIdle());
    }

    void aPromptThatIsRefusedIsExplained() {
        m_window->script->generate = [](auto&&...) -> Result<GenerationResult> {
            return Error{ErrorCode::InvalidRequest, "The prompt has 900 tokens, 512 fit.", {}};
        };
        m_window->openIdle();
        m_window->generate();
        QCOMPARE(m_window->label("messageText"), "The prompt has 900 tokens, 512 fit.");
        QVERIFY(m_window->output()->isBlank());
        m_window->click("messageClose");
        QCOMPARE(m_window->label("messageText"), QString());
    }

    void progressOfThePromptIsShown() {
        m_window->runUntilStopped([](GenerationSink& sink) {
            sink.promptStarted(400, 1);
            sink.promptProgress(100, 400);
        });
        m_window->openIdle();
        m_window->click("generateButton");
        m_window->reached.acquire();
        auto* activity = m_window->find<ActivityBar>("activityBar");
        QTRY_COMPARE(activity->text(), "Reading the prompt: 100 of 400 tokens");
        m_window->click("stopButton");
        QVERIFY(m_window->becomesIdle());
        QVERIFY(activity->text().isEmpty());
    }

    void aPromptFileIsUsedByteForByte() {
        const QByteArray bytes("line\r\n\xff\xc3\xa9 \xc2\xa0 end\n\n");
        const QString path = m_window->folder.filePath("prompt.txt");
        QFile file(path);
        QVERIFY(file.open(QIODevice::WriteOnly) && file.write(bytes) == bytes.size());
        file.close();
        m_window->openIdle();
        m_window->answer = path;
        m_window->click("openPromptButton");
        QVERIFY(m_window->label("promptSource").contains("prompt.txt"));
        m_window->generate();
        QCOMPARE(QByteArray::fromStdString(m_window->requests.back().prompt), bytes);
        QTest::keyClicks(m_window->find<PromptTextEdit>("promptEdit"), "x");
        QVERIFY(m_window->label("promptSource").contains("edited"));
        m_window->generate();
        QVERIFY(QByteArray::fromStdString(m_window->requests.back().prompt) != bytes);
        m_window->answer = m_window->folder.filePath("missing.txt");
        m_window->click("openPromptButton");
        QVERIFY(m_window->label("messageText").contains("missing.txt") ||
                m_window->label("messageText").contains("file"));
    }

    void aPromptFromAStreamIsNotRemembered() {
        m_window->openIdle();
        const std::string before = m_window->window->findChild<PromptEditor*>()->prompt();
        WindowStart start = startWith("/models/fable");
        start.prompt = "a book";
        start.promptSource = "standard input";
        m_window->openIdle(start);
        QVERIFY(m_window->label("promptSource").contains("standard input"));
        QCOMPARE(m_window->window->findChild<PromptEditor*>()->prompt(), std::string("a book"));
        m_window->window->close();
        m_window->openIdle();
        QCOMPARE(m_window->window->findChild<PromptEditor*>()->prompt(), before);
    }

    // Whose writer may never come: the window would wait for it.
    void aPipeIsNoPromptFile() {
        const QString path = m_window->folder.filePath("pipe");
        QCOMPARE(mkfifo(path.toUtf8().constData(), 0600), 0);
        m_window->openIdle();
        m_window->answer = path;
        m_window->click("openPromptButton");
        QVERIFY(m_window->label("messageText").contains("pipe"));
        QVERIFY(m_window->label("promptSource").isEmpty());
    }

    void aPromptWrittenAnewIsNoFilesAnyMore_data() {
        QTest::addColumn<bool>("editedBefore");
        QTest::newRow("at once") << false;
        QTest::newRow("after an edit") << true;
    }
    void aPromptWrittenAnewIsNoFilesAnyMore() {
        QFETCH(bool, editedBefore);
        const QString path = m_window->folder.filePath("binary.txt");
        QFile file(path);
        QVERIFY(file.open(QIODevice::WriteOnly) && file.write("two\nlines") == 9);
        file.close();
        m_window->openIdle();
        m_window->answer = path;
        m_window->click("openPromptButton");
        auto* prompt = m_window->find<PromptTextEdit>("promptEdit");
        if (editedBefore) QTest::keyClicks(prompt, "x");
        QCOMPARE(m_window->label("promptSource").contains("edited"), editedBefore);
        prompt->selectAll();
        QTest::keyClicks(prompt, "Once");
        QCOMPARE(prompt->toPlainText(), "Once");
        QCOMPARE(m_window->label("promptSource"), "");
    }

    void aPromptFromTheCommandLineIsKeptByteForByte() {
        WindowStart start = startWith("/models/fable");
        start.prompt = "line\r\n\xff end";
        m_window->openIdle(start);
        QVERIFY(m_window->label("promptSource").contains("byte for byte"));
        m_window->generate();
        QCOMPARE(m_window->requests.back().prompt, *start.prompt);
        QTest::keyClicks(m_window->find<PromptTextEdit>("promptEdit"), "x");
        QCOMPARE(m_window->label("promptSource"), "");
        m_window->generate();
        QCOMPARE(m_window->requests.back().prompt, "line\n\xEF\xBF\xBD endx");
    }

    void aTextDroppedOnThePromptIsOpened() {
        const QString path = m_window->folder.filePath("story.txt");
        QFile file(path);
        QVERIFY(file.open(QIODevice::WriteOnly) && file.write("A story") == 7);
        file.close();
        m_window->openScripted();
        auto* prompt = m_window->find<PromptTextEdit>("promptEdit");
        dropOn(prompt->viewport(), path);
        QCOMPARE(prompt->toPlainText(), "A story");
        QVERIFY(m_window->label("promptSource").contains("story.txt"));
    }

    void theOutputIsSavedAndCleared() {
        m_window->openIdle();
        QAction* save = m_window->action("Save Output As…");
        QVERIFY(!save->isEnabled());
        m_window->generate();
        QVERIFY(save->isEnabled());
        const QString path = m_window->folder.filePath("out.txt");
        m_window->answer = path;
        save->trigger();
        QFile file(path);
        QVERIFY(file.open(QIODevice::ReadOnly));
        QCOMPARE(file.readAll(), "Once upon a time upon a time");
        m_window->answer = m_window->folder.filePath("no/such/folder/out.txt");
        save->trigger();
        QVERIFY(m_window->label("messageText").contains("could not be saved"));
        m_window->answer = m_window->folder.filePath("on-a-full-disk.txt");
        {
            const SmallDisk disk(10);
            save->trigger();
        }
        QVERIFY(m_window->label("messageText").contains("File too large"));
        QVERIFY(!QFile::exists(m_window->answer));
        m_window->action("Clear Output")->trigger();
        QVERIFY(m_window->output()->isBlank());
        QVERIFY(!save->isEnabled());
    }

    void closingInTheMiddleEnds() {
        m_window->runUntilStopped([](GenerationSink&) {});
        m_window->openIdle();
        m_window->click("generateButton");
        m_window->reached.acquire();
        m_window->window->close();
        m_window->window.reset();
    }

    // What is on its way out is not ready to be used, however long the engine takes to let it go.
    void aModelThatIsUnloadedDuringARunIsNotReady() {
        std::binary_semaphore mayEnd{0};
        m_window->script->generate = [this, &mayEnd](auto&&, GenerationSink& sink,
                                                     auto&&) -> Result<GenerationResult> {
            sink.promptStarted(1, 1);
            m_window->reached.release();
            mayEnd.acquire();
            return resultOf(StopReason::Cancelled, {});
        };
        m_window->openIdle();
        m_window->click("generateButton");
        m_window->reached.acquire();
        m_window->action("Unload")->trigger();
        const bool isReady = m_window->find<QAbstractButton>("generateButton")->isEnabled();
        mayEnd.release();
        QVERIFY(!isReady);
        QTRY_COMPARE(m_window->label("statusModel"), "No model");
        QCOMPARE(m_window->window->windowTitle(), "QLLaMA");
    }

private:
    std::unique_ptr<ScriptedWindow> m_window;
};

QTEST_MAIN(TestWindowRuns)
#include "test_window_runs.moc"
