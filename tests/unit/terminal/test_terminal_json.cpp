// The real program with --json on the demo model: what a script can rely on.
#include <QTemporaryDir>
#include <QTest>

#include "tests/support/run_program.h"

using namespace qllama;

namespace {

const QStringList kPrompt = {"--prompt", "Once upon a time"};

QList<QJsonObject> jsonDemo(const QStringList& more) {
    const ProgramRun run = runDemo(QStringList{"--json"} + more);
    if (run.exitCode != 0) qWarning("exit %d: %s", run.exitCode, run.err.constData());
    return jsonLines(run.out);
}

QJsonObject doneOf(const QList<QJsonObject>& events) {
    return events.isEmpty() ? QJsonObject() : events.last();
}

QString textOf(const QStringList& more) {
    return doneOf(jsonDemo(more))["text"].toString();
}

}  // namespace

class TestTerminalJson : public QObject {
    Q_OBJECT

private slots:
    void eventsComeInOrderWithTheirFields();
    void speedNeedsASecondToken();
    void textsOfTheTokensAreTheText();
    void sameSeedSameTextWithAnyNumberOfThreads();
    void chosenSeedIsReportedAndRepeats();
    void anotherSeedAnotherText();
    void endsByItself();
    void ignoreEosGoesOn();
    void contextFull();
    void stopStringEndsBeforeItself();
    void logitsOfThePromptAlone();
    void promptFileByteForByte();
    void emptyPromptIsBosAlone();
    void precisionIsReported();
    void promptThatDoesNotFit();
    void failureIsAnEventAndASentence_data();
    void failureIsAnEventAndASentence();
    void wrongUsage();
};

void TestTerminalJson::eventsComeInOrderWithTheirFields() {
    const ProgramRun run = runDemo(
        QStringList{"--json", "--max-tokens", "5", "--seed", "7", "--ignore-eos"} + kPrompt);
    QCOMPARE(run.exitCode, 0);
    QCOMPARE(run.err, QByteArray());
    const QList<QJsonObject> events = jsonLines(run.out);
    QStringList names;
    for (const QJsonObject& event : events)
        names << event["event"].toString();
    QCOMPARE(names,
             (QStringList{"model", "prompt", "token", "token", "token", "token", "token", "done"}));

    const QJsonObject& model = events.first();
    QVERIFY(!model["name"].toString().isEmpty() && !model["device_name"].toString().isEmpty());
    QCOMPARE(model["path"].toString(), demoModel());
    QCOMPARE(model["precision"].toString(), QString("f16"));
    QCOMPARE(model["device"].toString(), QString("cpu"));
    QCOMPARE(model["seed"].toInteger(), qint64{7});
    QVERIFY(model["notes"].isArray());
    for (const char* key : {"parameters", "layers", "threads", "context", "weights_bytes",
                            "kv_cache_bytes", "load_ms"})
        QVERIFY2(model[key].toDouble() > 0, key);

    const QJsonObject& prompt = events.at(1);
    QVERIFY(prompt["tokens"].toArray().size() > 1);
    QVERIFY(prompt["ms"].toDouble() > 0 && prompt["tokens_per_second"].toDouble() > 0);

    for (const QJsonObject& token : eventsNamed(events, "token")) {
        QVERIFY(token["id"].isDouble() && token["text"].isString());
        QVERIFY(token["probability"].toDouble() > 0 && token["probability"].toDouble() <= 1);
        QVERIFY(token["ms"].toDouble() > 0);
    }
    const QJsonObject done = events.last();
    QCOMPARE(done["tokens"].toInteger(), qint64{5});
    QCOMPARE(done["reason"].toString(), QString("length"));
    QCOMPARE(done["seed"].toInteger(), qint64{7});
    QVERIFY(done["ms_per_token"].toDouble() > 0 && done["tokens_per_second"].toDouble() > 0);
}

void TestTerminalJson::speedNeedsASecondToken() {
    for (const char* tokens : {"0", "1"}) {
        const QStringList arguments = QStringList{"--max-tokens", tokens, "--ignore-eos"} + kPrompt;
        const QJsonObject done = doneOf(jsonDemo(arguments));
        QCOMPARE(done["tokens"].toInteger(), QByteArray(tokens).toLongLong());
        QVERIFY(done["ms_per_token"].isNull() && done["tokens_per_second"].isNull());
        const QByteArray statistics = runDemo(arguments).err;
        QVERIFY2(statistics.contains(QByteArray(tokens) + " token"), statistics.constData());
        QVERIFY2(!statistics.contains("ms/token"), statistics.constData());
    }
}

void TestTerminalJson::textsOfTheTokensAreTheText() {
    // Hot enough for odd bytes, so that characters arrive in halves.
    const QList<QJsonObject> events =
        jsonDemo(QStringList{"--temperature", "5", "--top-k", "0", "--top-p", "1", "--min-p", "0",
                             "--seed", "3", "--max-tokens", "200", "--ignore-eos"} +
                 kPrompt);
    QString text;
    const QList<QJsonObject> tokens = eventsNamed(events, "token");
    for (const QJsonObject& token : tokens)
        text += token["text"].toString();
    QCOMPARE(tokens.size(), 200);
    QVERIFY(!text.isEmpty());
    QCOMPARE(doneOf(events)["text"].toString(), text);
    QCOMPARE(doneOf(events)["tokens"].toInteger(), qint64{200});
}

void TestTerminalJson::sameSeedSameTextWithAnyNumberOfThreads() {
    const QStringList base = QStringList{"--seed", "11", "--max-tokens", "80"} + kPrompt;
    const QString one = textOf(base + QStringList{"--threads", "1"});
    QVERIFY(one.size() > 100);
    for (const char* threads : {"1", "2", "3"})
        QCOMPARE(textOf(base + QStringList{"--threads", threads}), one);
}

void TestTerminalJson::chosenSeedIsReportedAndRepeats() {
    const QStringList base = QStringList{"--max-tokens", "40", "--temperature", "1.5"} + kPrompt;
    const QList<QJsonObject> first = jsonDemo(base);
    const qint64 seed = first.first()["seed"].toInteger(-1);
    QVERIFY(seed >= 0);
    QCOMPARE(doneOf(first)["seed"].toInteger(), seed);
    QCOMPARE(textOf(base + QStringList{"--seed", QString::number(seed)}),
             doneOf(first)["text"].toString());
    QVERIFY(jsonDemo(base).first()["seed"].toInteger() != seed);
}

void TestTerminalJson::anotherSeedAnotherText() {
    const QStringList base = QStringList{"--max-tokens", "40", "--temperature", "1.5"} + kPrompt;
    QVERIFY(textOf(base + QStringList{"--seed", "1"}) != textOf(base + QStringList{"--seed", "2"}));
}

void TestTerminalJson::endsByItself() {
    const QJsonObject done =
        doneOf(jsonDemo(QStringList{"--max-tokens", "-1", "--seed", "1"} + kPrompt));
    QCOMPARE(done["reason"].toString(), QString("end-of-text"));
    QVERIFY(done["text"].toString().size() > 50);
}

void TestTerminalJson::ignoreEosGoesOn() {
    const QStringList base = QStringList{"--seed", "1"} + kPrompt;
    const QJsonObject ended = doneOf(jsonDemo(base + QStringList{"--max-tokens", "-1"}));
    const qint64 more = ended["tokens"].toInteger() + 20;
    const QJsonObject done =
        doneOf(jsonDemo(base + QStringList{"--ignore-eos", "--max-seq-len", "4096", "--max-tokens",
                                           QString::number(more)}));
    QCOMPARE(done["reason"].toString(), QString("length"));
    QCOMPARE(done["tokens"].toInteger(), more);
    QVERIFY(done["text"].toString().startsWith(ended["text"].toString()));
}

void TestTerminalJson::contextFull() {
    const QList<QJsonObject> events = jsonDemo(
        QStringList{"--max-tokens", "-1", "--ignore-eos", "--max-seq-len", "32"} + kPrompt);
    QCOMPARE(events.first()["context"].toInteger(), qint64{32});
    QCOMPARE(doneOf(events)["reason"].toString(), QString("context-full"));
    const qsizetype prompt = events.at(1)["tokens"].toArray().size();
    // The last token is sampled from the last position and needs none itself.
    QCOMPARE(doneOf(events)["tokens"].toInteger(), qint64{32} - prompt + 1);
}

void TestTerminalJson::stopStringEndsBeforeItself() {
    const QStringList base = QStringList{"--seed", "5", "--max-tokens", "100"} + kPrompt;
    const QString whole = textOf(base);
    const QString stop = whole.mid(whole.size() / 2, 5);
    const QJsonObject done =
        doneOf(jsonDemo(base + QStringList{"--stop", "not there", "--stop", stop}));
    QCOMPARE(done["reason"].toString(), QString("stop"));
    QCOMPARE(done["text"].toString(), whole.left(whole.indexOf(stop)));
}

void TestTerminalJson::logitsOfThePromptAlone() {
    QTemporaryDir folder;
    const QString path = folder.filePath("logits.npy");
    const QList<QJsonObject> events =
        jsonDemo(QStringList{"--max-tokens", "0", "--logits", path} + kPrompt);
    QVERIFY(eventsNamed(events, "token").isEmpty());
    QCOMPARE(doneOf(events)["tokens"].toInteger(), qint64{0});
    QCOMPARE(doneOf(events)["text"].toString(), QString());
    const ProgramRun python =
        runCommand(QLLAMA_PYTHON, {"-c",
                                   "import numpy, sys\n"
                                   "logits = numpy.load(sys.argv[1])\n"
                                   "assert logits.dtype == numpy.float32 and logits.ndim == 1\n"
                                   "print(logits.argmax())\n",
                                   path});
    QCOMPARE(python.err, QByteArray());
    const QList<QJsonObject> greedy = eventsNamed(
        jsonDemo(QStringList{"--max-tokens", "1", "--temperature", "0"} + kPrompt), "token");
    QCOMPARE(greedy.size(), 1);
    QCOMPARE(python.out.trimmed().toInt(), greedy.first()["id"].toInt());
}

void TestTerminalJson::promptFileByteForByte() {
    const QByteArray prompt = "  Two  spaces,\ta tab\r\nand an end \n\n";
    QTemporaryDir folder;
    QFile file(folder.filePath("prompt.txt"));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(prompt);
    file.close();
    const QStringList base = {"--json", "--max-tokens", "0"};
    const QJsonArray direct =
        jsonLines(runDemo(base + QStringList{"--prompt", prompt}).out).at(1)["tokens"].toArray();
    QVERIFY(direct.size() > 10);
    const QJsonArray fromFile =
        jsonLines(runDemo(base + QStringList{"--prompt-file", file.fileName()}).out)
            .at(1)["tokens"]
            .toArray();
    QCOMPARE(fromFile, direct);
    const ProgramRun piped = runProgram(
        QStringList{"--headless", "--model", demoModel(), "--prompt-file", "-"} + base, prompt);
    QCOMPARE(jsonLines(piped.out).at(1)["tokens"].toArray(), direct);
}

void TestTerminalJson::emptyPromptIsBosAlone() {
    const QList<QJsonObject> events =
        jsonDemo({"--prompt", "", "--max-tokens", "3", "--ignore-eos"});
    QCOMPARE(events.at(1)["tokens"].toArray(), QJsonArray{1});
    QCOMPARE(eventsNamed(events, "token").size(), 3);
}

void TestTerminalJson::precisionIsReported() {
    for (const char* precision : {"f32", "f16"}) {
        const QList<QJsonObject> events =
            jsonDemo(QStringList{"--precision", precision, "--max-tokens", "1"} + kPrompt);
        QCOMPARE(events.first()["precision"].toString(), QString(precision));
    }
}

void TestTerminalJson::promptThatDoesNotFit() {
    const QList<QJsonObject> fitting = jsonDemo(QStringList{"--max-tokens", "0"} + kPrompt);
    const QString tokens = QString::number(fitting.at(1)["tokens"].toArray().size());
    const ProgramRun run = runDemo(QStringList{"--json", "--max-seq-len", "3"} + kPrompt);
    QCOMPARE(run.exitCode, 1);
    QVERIFY(run.err.contains((tokens + " tokens").toUtf8()));
    QVERIFY(run.err.contains("holds 3"));
}

void TestTerminalJson::failureIsAnEventAndASentence_data() {
    QTest::addColumn<QStringList>("arguments");
    QTest::newRow("no such model") << QStringList{"--model", "/nonexistent/model"};
    QTest::newRow("no such device") << QStringList{"--device", "opencl:99"};
    QTest::newRow("no such prompt file") << QStringList{"--prompt-file", "/nonexistent/prompt"};
    QTest::newRow("no such tokenizer") << QStringList{"--tokenizer", "/nonexistent/tokenizer"};
    QTest::newRow("logits nowhere") << QStringList{"--logits", "/nonexistent/logits.npy"};
}

void TestTerminalJson::failureIsAnEventAndASentence() {
    QFETCH(QStringList, arguments);
    if (!arguments.contains("--model")) arguments << "--model" << demoModel();
    if (!arguments.contains("--prompt-file")) arguments << kPrompt;
    const ProgramRun run = runProgram(QStringList{"--headless", "--json"} + arguments);
    QCOMPARE(run.exitCode, 1);
    const QList<QJsonObject> events = jsonLines(run.out);
    QCOMPARE(events.last()["event"].toString(), QString("error"));
    const QString message = events.last()["message"].toString();
    QVERIFY(message.size() > 10 && message.contains('.'));
    QCOMPARE(QString::fromUtf8(run.err), message + "\n");
    QVERIFY(eventsNamed(events, "done").isEmpty());
}

void TestTerminalJson::wrongUsage() {
    const ProgramRun run = runDemo(QStringList{"--json", "--top-p", "2"} + kPrompt);
    QCOMPARE(run.exitCode, 2);
    QCOMPARE(run.err.count('\n'), 1);
    QVERIFY(run.err.startsWith("--top-p needs a number from 0 to 1, not '2'"));
    QCOMPARE(jsonLines(run.out).size(), 1);
    QCOMPARE(jsonLines(run.out).first()["event"].toString(), QString("error"));
}

QTEST_GUILESS_MAIN(TestTerminalJson)
#include "test_terminal_json.moc"
