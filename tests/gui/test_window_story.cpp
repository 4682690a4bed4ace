// One sitting at the real window with the real engine and the demo model, by keys and clicks alone.
// Runs offscreen and, under the label xvfb, on a real X server.
#include <QDoubleSpinBox>
#include <QFile>
#include <QJsonDocument>
#include <QJsonObject>
#include <QLineEdit>
#include <QProcess>
#include <QSignalSpy>
#include <QSpinBox>

#include "gui/window/application.h"
#include "gui/window/output_view.h"
#include "gui/window/prompt_editor.h"
#include "gui/window/session_engine.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;
using State = EngineController::State;

class TestWindowStory : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() {
        prepareApplication();
        m_fixture.demoModel = QStringLiteral(QLLAMA_RESOURCE_DIR "/demo-model").toStdString();
        m_fixture.open(std::make_unique<SessionEngine>());
        QVERIFY(m_fixture.becomesActive());
    }
    void cleanupTestCase() {
        m_fixture.window->close();
        m_fixture.window.reset();
    }

    void loadsTheDemoModelByItself() {
        QVERIFY(m_fixture.becomesIdle());
        QCOMPARE(m_fixture.label("messageText"), QString());
        QCOMPARE(m_fixture.window->engine().state(), State::Ready);
        QCOMPARE(m_fixture.window->windowTitle(), "demo-model – QLLaMA");
        QVERIFY(m_fixture.label("statusModel").startsWith("demo-model"));
    }

    void generatesFromATypedPrompt() {
        typePrompt("One morning");
        setNumber("maxTokens", "24");
        generate();
        QVERIFY(output()->toPlainText().startsWith("One morning"));
        QVERIFY(!output()->lastContinuation().empty());
        QVERIFY(m_fixture.label("statusTokens").endsWith("tokens"));
        QVERIFY(m_fixture.label("statusMsPerToken").endsWith("ms/token"));
        QVERIFY(!m_fixture.find<QLineEdit>("seedEdit")->text().isEmpty());
    }

    // A context so long that the run cannot have ended by itself when the first token is there.
    void stopsInTheMiddle() {
        setNumber("contextLength", "16384");
        m_fixture.click("applyLoad");
        QVERIFY(m_fixture.becomesIdle());
        QVERIFY(m_fixture.label("statusContext").contains("16,384"));
        setNumber("maxTokens", "-1");
        m_fixture.click("ignoreEos");
        QSignalSpy tokens(&m_fixture.window->engine(), &EngineController::tokensReady);
        QSignalSpy finished(&m_fixture.window->engine(), &EngineController::generationFinished);
        QTest::keyClick(prompt(), Qt::Key_Return, Qt::ControlModifier);
        QVERIFY(tokens.wait(60000));
        QCOMPARE(m_fixture.window->engine().state(), State::Generating);
        QTest::keyClick(m_fixture.window.get(), Qt::Key_Escape);
        QVERIFY(m_fixture.becomesIdle());
        const auto result = finished.first().at(1).value<GenerationResult>();
        QCOMPARE(result.reason, StopReason::Cancelled);
        QVERIFY(result.statistics.tokenCount < 16000);
        QCOMPARE(output()->lastContinuation(), result.text);
        QVERIFY(output()->toPlainText().contains("\nStopped"));
        m_fixture.click("ignoreEos");
        setNumber("maxTokens", "40");
    }

    void takesTheChangedSampler() {
        auto* temperature = m_fixture.find<QDoubleSpinBox>("temperature");
        temperature->setFocus();
        temperature->selectAll();
        QTest::keyClicks(temperature, "0");
        generate();
        m_greedy = output()->lastContinuation();
        QVERIFY(!m_greedy.empty());
        generate();  // another seed, but nothing is drawn
        QCOMPARE(output()->lastContinuation(), m_greedy);
        m_fixture.click("samplerReset");
        QVERIFY(temperature->value() > 0);
    }

    void explainsABrokenFileAndGoesOn() {
        makeBrokenModel();
        m_fixture.answer = m_fixture.folder.filePath("broken");
        m_fixture.action("Open Model Folder…")->trigger();
        QVERIFY(m_fixture.becomesIdle());
        const QString message = m_fixture.label("messageText");
        QVERIFY2(message.length() > 30, qPrintable(message));
        QVERIFY2(message.contains("demo-model is still loaded."), qPrintable(message));
        QVERIFY(m_fixture.window->windowTitle().startsWith("demo-model"));
        auto* temperature = m_fixture.find<QDoubleSpinBox>("temperature");
        temperature->setValue(0);
        generate();
        QCOMPARE(output()->lastContinuation(), m_greedy);
        QCOMPARE(m_fixture.label("messageText"), QString());
        m_fixture.click("samplerReset");
    }

    void asksForAMissingTokenizerAndGoesOn() {
        const QString from = QStringLiteral(QLLAMA_RESOURCE_DIR "/demo-model/");
        const QDir folder(m_fixture.folder.path());
        QVERIFY(folder.mkpath("bare/model"));  // none one folder up either
        for (const char* name : {"params.json", "consolidated.00.pth"})
            QVERIFY(
                QFile::copy(from + name, folder.filePath(QStringLiteral("bare/model/") + name)));
        m_fixture.answer = folder.filePath("bare/model");
        m_fixture.action("Open Model Folder…")->trigger();
        QVERIFY(m_fixture.becomesIdle());
        const QString message = m_fixture.label("messageText");
        QVERIFY2(message.contains("There is no tokenizer.model in"), qPrintable(message));
        QVERIFY2(message.endsWith("demo-model is still loaded."), qPrintable(message));
        QVERIFY(m_fixture.label("statusModel").startsWith("demo-model"));
        m_fixture.answer = from + "tokenizer.model";
        m_fixture.click("messageAction");
        QVERIFY(m_fixture.becomesIdle());
        QVERIFY(m_fixture.label("statusModel").startsWith("model"));
        m_fixture.answer = from;
        m_fixture.action("Open Model Folder…")->trigger();
        QVERIFY(m_fixture.becomesIdle());
    }

    // Whoever opens it by mistake has no params.json to choose.
    void aTextFileIsNoModel() {
        QFile notes(m_fixture.folder.filePath("notes.pth"));
        QVERIFY(notes.open(QIODevice::WriteOnly) && notes.write("Buy bread.\n") > 0);
        notes.close();
        m_fixture.answer = notes.fileName();
        m_fixture.action("Open Model File…")->trigger();
        QVERIFY(m_fixture.becomesIdle());
        const QString message = m_fixture.label("messageText");
        QVERIFY2(message.contains("This is not a checkpoint"), qPrintable(message));
        QVERIFY2(message.endsWith("demo-model is still loaded."), qPrintable(message));
        QVERIFY(!m_fixture.find<QAbstractButton>("messageAction")->isVisible());
    }

    void writesWhatTheTerminalWritesWithTheSameSeed() {
        m_fixture.click("seedRandom");
        auto* seed = m_fixture.find<QLineEdit>("seedEdit");
        seed->selectAll();
        QTest::keyClicks(seed, "20230401");
        typePrompt("The old lighthouse");
        generate();
        QProcess terminal;
        terminal.start(QStringLiteral(QLLAMA_PROGRAM),
                       {"--headless", "--json", "--model", QLLAMA_RESOURCE_DIR "/demo-model",
                        "--prompt", "The old lighthouse", "--seed", "20230401", "--max-tokens",
                        "40", "--max-seq-len", "16384"});
        QVERIFY(terminal.waitForFinished(60000));
        QCOMPARE(terminal.exitCode(), 0);
        const QByteArray last = terminal.readAllStandardOutput().trimmed().split('\n').last();
        const QJsonObject done = QJsonDocument::fromJson(last).object();
        QCOMPARE(done.value("event").toString(), "done");
        QVERIFY(!done.value("text").toString().isEmpty());
        QCOMPARE(QString::fromStdString(output()->lastContinuation()),
                 done.value("text").toString());
    }

private:
    PromptTextEdit* prompt() { return m_fixture.find<PromptTextEdit>("promptEdit"); }
    OutputView* output() { return m_fixture.find<OutputView>("outputView"); }

    void typePrompt(const QString& text) {
        prompt()->setFocus();
        prompt()->selectAll();
        QTest::keyClicks(prompt(), text);
    }
    void setNumber(const char* name, const QString& digits) {
        auto* box = m_fixture.find<QSpinBox>(name);
        box->setFocus();
        box->selectAll();
        QTest::keyClicks(box, digits);
        QTest::keyClick(box, Qt::Key_Tab);
    }
    void generate() {
        m_fixture.click("generateButton");
        QVERIFY(m_fixture.becomesIdle());
    }
    // The demo model with the second half of its weights cut off.
    void makeBrokenModel() {
        const QString from = QStringLiteral(QLLAMA_RESOURCE_DIR "/demo-model/");
        const QDir folder(m_fixture.folder.path());
        QVERIFY(folder.mkpath("broken"));
        for (const char* name : {"params.json", "tokenizer.model", "consolidated.00.pth"})
            QVERIFY(QFile::copy(from + name, folder.filePath(QStringLiteral("broken/") + name)));
        QFile weights(folder.filePath("broken/consolidated.00.pth"));
        QVERIFY(weights.setPermissions(QFile::ReadOwner | QFile::WriteOwner));
        QVERIFY(weights.resize(weights.size() / 2));
    }

    WindowFixture m_fixture;
    std::string m_greedy;
};

QTEST_MAIN(TestWindowStory)
#include "test_window_story.moc"
