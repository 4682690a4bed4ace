// The real program as a person uses it in a terminal, on the demo model.
#include <QJsonArray>
#include <QRegularExpression>
#include <QTemporaryDir>
#include <QTest>

#include "tests/support/run_program.h"

using namespace qllama;

namespace {

const QByteArray kPrompt = "Once upon a time";
const QStringList kRun = {"--prompt", kPrompt, "--seed", "9", "--max-tokens", "30"};
const QStringList kBenchmark = {"--bench", "--bench-prompt", "4", "--bench-tokens",
                                "2",       "--repetitions",  "1"};
const QStringList kPerplexity = {"--perplexity", QLLAMA_RESOURCE_DIR "/demo-model/params.json"};

QByteArray continuation() {
    const QList<QJsonObject> events = jsonLines(runDemo(kRun + QStringList{"--json"}).out);
    return events.isEmpty() ? QByteArray() : events.last()["text"].toString().toUtf8();
}

QByteArray withoutColors(QByteArray text) {
    return QString::fromUtf8(text).remove(QRegularExpression("\x1b\\[[0-9;]*[mK]")).toUtf8();
}

// The program with standard output and error on a terminal of its own.
QByteArray onTerminal(const QStringList& arguments, const QProcessEnvironment& environment) {
    QString command = QStringLiteral(QLLAMA_PROGRAM);
    for (const QString& argument : arguments)
        command += " '" + argument + "'";
    return runCommand("script", {"--quiet", "--return", "--command", command, "/dev/null"}, {},
                      environment)
        .out;
}

QProcessEnvironment terminalOfKind(const QString& kind) {
    QProcessEnvironment environment = terminalEnvironment();
    environment.insert("TERM", kind);
    return environment;
}

}  // namespace

class TestTerminalPlain : public QObject {
    Q_OBJECT

private slots:
    void promptAndContinuationThenStatistics();
    void quietPrintsTheContinuationOnly();
    void demoModelIsUsedWithoutAModel();
    void colorsShowTheProbability();
    void colorsOnlyWhereTheyAreUnderstood();
    void progressIsErased();
    void controlsAreShownOnATerminal();
    void closedStreamsAreNoFiles_data();
    void closedStreamsAreNoFiles();
    void readerThatLeaves();
    void fullDisk_data();
    void fullDisk();
    void errorsAreOneSentence_data();
    void errorsAreOneSentence();
    void noFolderForKeptWeights();
    void withoutADisplayTheWindowIsASentence_data();
    void withoutADisplayTheWindowIsASentence();
    void wrongUsageIsOneSentence();
    void version();
    void help();
    void devices();
    void instructionSetIsChosen();
    void inspection();
    void inspectionAsJson();
    void inspectionOfNothing();
    void inspectionOfAPart();
};

void TestTerminalPlain::promptAndContinuationThenStatistics() {
    const ProgramRun run = runDemo(kRun);
    QCOMPARE(run.exitCode, 0);
    QCOMPARE(run.out, kPrompt + continuation());
    QCOMPARE(run.err.count('\n'), 1);
    for (const char* part : {"ms/token", "tokens/s", "30 tokens", "length", "seed 9"})
        QVERIFY2(run.err.contains(part), run.err.constData());
}

void TestTerminalPlain::quietPrintsTheContinuationOnly() {
    const ProgramRun run = runDemo(kRun + QStringList{"--quiet"});
    QCOMPARE(run.exitCode, 0);
    QCOMPARE(run.out, continuation());
    QCOMPARE(run.err, QByteArray());
}

void TestTerminalPlain::demoModelIsUsedWithoutAModel() {
    const ProgramRun run = runProgram(QStringList{"--headless"} + kRun);
    QCOMPARE(run.exitCode, 0);
    QCOMPARE(run.out, kPrompt + continuation());
    QVERIFY2(run.err.startsWith("demo model"), run.err.constData());
}

void TestTerminalPlain::colorsShowTheProbability() {
    const ProgramRun run = runDemo(kRun + QStringList{"--color", "always"});
    QCOMPARE(withoutColors(run.out), kPrompt + continuation());
    QVERIFY(run.out.startsWith("\x1b[38;2;128;128;255m" + kPrompt + "\x1b[0m"));
    const QList<QJsonObject> tokens =
        eventsNamed(jsonLines(runDemo(kRun + QStringList{"--json"}).out), "token");
    QByteArray expected;
    for (const QJsonObject& token : tokens) {
        const int strength = qRound(127 * token["probability"].toDouble());
        const QString text = token["text"].toString();
        if (text.isEmpty()) continue;
        expected += QString("\x1b[38;2;%1;%2;128m%3\x1b[0m")
                        .arg(128 + strength)
                        .arg(255 - strength)
                        .arg(text)
                        .toUtf8();
    }
    QVERIFY(!expected.isEmpty());
    QVERIFY(run.out.endsWith(expected));
    QVERIFY(!run.err.contains('\x1b'));
}

void TestTerminalPlain::colorsOnlyWhereTheyAreUnderstood() {
    const QStringList arguments = QStringList{"--headless", "--model", demoModel()} + kRun;
    const QByteArray mark = "\x1b[38;2;";
    QVERIFY(!runDemo(kRun).out.contains(mark));  // a pipe
    QVERIFY(onTerminal(arguments, terminalOfKind("xterm-256color")).contains(mark));
    QVERIFY(!onTerminal(arguments, terminalOfKind("dumb")).contains('\x1b'));
    QProcessEnvironment noColor = terminalOfKind("xterm-256color");
    noColor.insert("NO_COLOR", "1");
    QVERIFY(!onTerminal(arguments, noColor).contains(mark));
    const QStringList never = arguments + QStringList{"--color", "never"};
    QVERIFY(!onTerminal(never, terminalOfKind("xterm-256color")).contains(mark));
}

void TestTerminalPlain::progressIsErased() {
    const QStringList arguments =
        QStringList{"--headless", "--model", demoModel(), "--color", "never"} + kRun;
    const QByteArray shown = onTerminal(arguments, terminalOfKind("xterm"));
    QVERIFY(shown.contains("\rLoading  "));
    // Whatever was written over itself is gone before the text begins.
    QVERIFY(shown.contains("\r\x1b[K" + kPrompt));
    const QByteArray quiet =
        onTerminal(arguments + QStringList{"--quiet"}, terminalOfKind("xterm"));
    QVERIFY(!quiet.contains("Loading"));
    const QByteArray json = onTerminal(arguments + QStringList{"--json"}, terminalOfKind("xterm"));
    QVERIFY(!json.contains("Loading"));
}

void TestTerminalPlain::controlsAreShownOnATerminal() {
    const QByteArray prompt =
        "Once\x1b]0;title\x07\x0e\tupon\xC2\x9B"
        "5m \xC3\xA9\x7F\xC2\xA9";
    const QByteArray shown =
        "Once\uFFFD]0;title\uFFFD\uFFFD\tupon\uFFFD"
        "5m \xC3\xA9\uFFFD\xC2\xA9";
    const QStringList arguments = {"--headless",   "--model", demoModel(), "--prompt", prompt,
                                   "--max-tokens", "1",       "--quiet",   "--color",  "never"};
    QStringList loud = arguments;
    loud.removeAll("--quiet");
    const QByteArray onScreen = onTerminal(loud, terminalOfKind("dumb"));
    QVERIFY2(onScreen.contains(shown), onScreen.constData());
    const QByteArray colored =
        onTerminal(loud + QStringList{"--color", "always"}, terminalOfKind("dumb"));
    QVERIFY2(colored.contains("m" + shown + "\x1b[0m"), colored.constData());
    QVERIFY(runProgram(loud).out.startsWith(prompt));  // a pipe
}

void TestTerminalPlain::closedStreamsAreNoFiles_data() {
    QTest::addColumn<QString>("redirection");
    QTest::addColumn<int>("exitCode");
    QTest::addColumn<QByteArray>("error");
    QTest::newRow("input") << "0<&-" << 0 << QByteArray();
    QTest::newRow("output") << "1>&-" << 1
                            << QByteArray(
                                   "Cannot write to standard output: Bad file descriptor.\n");
    QTest::newRow("error") << "2>&-" << 0 << QByteArray();
    QTest::newRow("input and error") << "0<&- 2>&-" << 0 << QByteArray();
    QTest::newRow("all") << "0<&- 1>&- 2>&-" << 1 << QByteArray();
}

// What the program opens would take the free numbers, and what it prints go into that.
void TestTerminalPlain::closedStreamsAreNoFiles() {
    QFETCH(QString, redirection);
    QFETCH(int, exitCode);
    QFETCH(QByteArray, error);
    const QTemporaryDir folder;
    const auto logits = [&](const QString& more, const QString& name) {
        const ProgramRun run =
            runCommand("bash", {"-c", "\"$@\" " + more, "bash", QLLAMA_PROGRAM, "--headless",
                                "--model", demoModel(), "--prompt", kPrompt, "--max-tokens", "0",
                                "--logits", folder.filePath(name)});
        QFile file(folder.filePath(name));
        return std::pair(run, file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray());
    };
    const auto [run, bytes] = logits(redirection, "closed.npy");
    QVERIFY(!run.crashed);
    QCOMPARE(run.exitCode, exitCode);
    if (!error.isEmpty()) QCOMPARE(run.err, error);
    if (exitCode == 0 || !bytes.isEmpty()) QCOMPARE(bytes, logits({}, "open.npy").second);
}

void TestTerminalPlain::readerThatLeaves() {
    const QString command = QStringLiteral(
        "set -o pipefail; \"$1\" --headless --model \"$2\" --prompt x --max-tokens -1 --ignore-eos "
        "--max-seq-len 65536 | head -c 1");
    const ProgramRun run =
        runCommand("bash", {"-c", command, "bash", QStringLiteral(QLLAMA_PROGRAM), demoModel()});
    QCOMPARE(run.exitCode, 0);
    QCOMPARE(run.out, QByteArray("x"));
    QCOMPARE(run.err, QByteArray());
}

// Whatever the program was to print.
void TestTerminalPlain::fullDisk_data() {
    QTest::addColumn<QStringList>("arguments");
    const QStringList model = {"--model", demoModel()};
    QTest::newRow("a text") << QStringList{"--headless", "--prompt", "x"} + model;
    QTest::newRow("a benchmark") << kBenchmark + model;
    QTest::newRow("a perplexity") << kPerplexity + model;
    QTest::newRow("an inspection") << QStringList{"--inspect", demoModel()};
    QTest::newRow("a plan") << QStringList{"--plan"} + model;
    QTest::newRow("the devices") << QStringList{"--list-devices"};
    QTest::newRow("kept weights") << QStringList{"--cache"};
    QTest::newRow("the help") << QStringList{"--help"};
}

void TestTerminalPlain::fullDisk() {
    QFETCH(QStringList, arguments);
    const ProgramRun run = runCommand(
        "bash", QStringList{"-c", "\"$0\" \"$@\" > /dev/full", QLLAMA_PROGRAM} + arguments);
    QCOMPARE(run.exitCode, 1);
    QCOMPARE(run.err, QByteArray("Cannot write to standard output: No space left on device.\n"));
}

void TestTerminalPlain::errorsAreOneSentence_data() {
    QTest::addColumn<QString>("file");  // of the demo model, cut in half
    QTest::newRow("weights") << "consolidated.00.pth";
    QTest::newRow("parameters") << "params.json";
    QTest::newRow("tokenizer") << "tokenizer.model";
}

void TestTerminalPlain::errorsAreOneSentence() {
    QFETCH(QString, file);
    QTemporaryDir folder;
    for (const char* name : {"consolidated.00.pth", "params.json", "tokenizer.model"})
        QVERIFY(QFile::copy(demoModel() + "/" + name, folder.filePath(name)));
    QFile broken(folder.filePath(file));
    QVERIFY(broken.setPermissions(QFile::ReadOwner | QFile::WriteOwner));
    QVERIFY(broken.resize(broken.size() / 2));
    const ProgramRun run = runProgram(QStringList{"--headless", "--model", folder.path()} + kRun);
    QCOMPARE(run.exitCode, 1);
    QVERIFY(!run.crashed);
    QCOMPARE(run.out, QByteArray());
    QCOMPARE(run.err.count('\n'), 1);
    QVERIFY2(run.err.contains(file.toUtf8()), run.err.constData());
}

void TestTerminalPlain::noFolderForKeptWeights() {
    for (const char* action : {"--cache", "--clear-cache"}) {
        const ProgramRun run = runCommand(
            "env", {"-u", "HOME", "-u", "XDG_CACHE_HOME", QLLAMA_PROGRAM, "--headless", action});
        QCOMPARE(run.exitCode, 0);
        QCOMPARE(run.out, QByteArray("No weights are kept: neither XDG_CACHE_HOME nor HOME names a "
                                     "folder.\n"));
    }
}

// Qt would end the program with a core dump.
void TestTerminalPlain::withoutADisplayTheWindowIsASentence_data() {
    QTest::addColumn<QString>("variable");
    QTest::addColumn<QByteArray>("sentence");
    QTest::newRow("none") << "DISPLAY=" << QByteArray("There is no display to open the window on");
    QTest::newRow("nobody there") << "DISPLAY=:54321"
                                  << QByteArray("The display :54321 does not answer");
    QTest::newRow("of a session that is over")
        << "DISPLAY=localhost:55555.0"
        << QByteArray("The display localhost:55555.0 does not answer");
    QTest::newRow("Wayland") << "WAYLAND_DISPLAY=wayland-54321"
                             << QByteArray("The display wayland-54321 does not answer");
}

void TestTerminalPlain::withoutADisplayTheWindowIsASentence() {
    QFETCH(QString, variable);
    QFETCH(QByteArray, sentence);
    const ProgramRun run = runCommand("env", {"-u", "QT_QPA_PLATFORM", "-u", "DISPLAY", "-u",
                                              "WAYLAND_DISPLAY", variable, QLLAMA_PROGRAM});
    QCOMPARE(run.exitCode, 1);
    QCOMPARE(run.err.count('\n'), 1);
    QVERIFY2(run.err.startsWith(sentence), run.err.constData());
}

void TestTerminalPlain::wrongUsageIsOneSentence() {
    const ProgramRun run = runProgram({"--headless"});
    QCOMPARE(run.exitCode, 2);
    QCOMPARE(run.out, QByteArray());
    QCOMPARE(run.err,
             QByteArray("--headless needs a prompt: --prompt TEXT or --prompt-file FILE.\n"));
}

void TestTerminalPlain::version() {
    const ProgramRun run = runProgram({"--version"});
    QCOMPARE(run.exitCode, 0);
    QVERIFY(QRegularExpression("^QLLaMA \\d+\\.\\d+\\.\\d+\n").match(run.out).hasMatch());
}

void TestTerminalPlain::help() {
    const ProgramRun run = runProgram({"--help"});
    QCOMPARE(run.exitCode, 0);
    QVERIFY(run.out.contains("--max-tokens N"));
    QCOMPARE(run.err, QByteArray());
}

void TestTerminalPlain::devices() {
    const ProgramRun text = runProgram({"--list-devices"});
    QCOMPARE(text.exitCode, 0);
    QVERIFY(text.out.startsWith("  cpu  "));
    const ProgramRun json = runProgram({"--list-devices", "--json"});
    QCOMPARE(json.exitCode, 0);
    const QList<QJsonObject> lines = jsonLines(json.out);
    QCOMPARE(lines.size(), 1);
    const QJsonObject cpu = lines.first()["devices"].toArray().first().toObject();
    QCOMPARE(cpu["id"].toString(), QString("cpu"));
    QVERIFY(cpu["compute_units"].toInt() > 0);
    QVERIFY(!cpu["name"].toString().isEmpty());
}

void TestTerminalPlain::instructionSetIsChosen() {
    const auto processor = [](const QStringList& more) {
        const ProgramRun run = runProgram(QStringList{"--list-devices", "--json"} + more);
        const QJsonObject list = jsonLines(run.out).first();
        return list["devices"].toArray().first().toObject();
    };
    const QJsonArray found = processor({})["simd_targets_found"].toArray();
    QVERIFY(!found.isEmpty());
    const QString lowest = found.last().toString();
    QCOMPARE(processor({"--cpu-target", lowest})["simd_target"].toString(), lowest);
    const ProgramRun list = runProgram({"--list-devices"});
    for (const QJsonValue& name : found)
        QVERIFY2(list.out.contains(name.toString().toUtf8()), list.out.constData());
    const QStringList generate = {"--headless",    "--prompt", "Once",         "--quiet",
                                  "--temperature", "0",        "--max-tokens", "8"};
    const ProgramRun run = runProgram(generate + QStringList{"--cpu-target", lowest});
    QCOMPARE(run.exitCode, 0);
    QCOMPARE(run.out, runProgram(generate).out);
    // Vectors of another length are summed in another order: the last bits of the logits tell.
    const QTemporaryDir folder;
    const auto logits = [&](const QString& target) {
        const QString path = folder.filePath(target + ".npy");
        runProgram(generate + QStringList{"--cpu-target", target, "--logits", path});
        QFile file(path);
        return file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray();
    };
    const QByteArray best = logits(found.first().toString());
    QVERIFY(!best.isEmpty());
    if (found.size() > 1) QVERIFY(logits(lowest) != best);
    const ProgramRun wrong = runProgram(generate + QStringList{"--cpu-target", "AVX9"});
    QCOMPARE(wrong.exitCode, 2);
    QVERIFY2(wrong.err.contains("AVX9") && wrong.err.contains(lowest.toUtf8()),
             wrong.err.constData());
}

void TestTerminalPlain::inspection() {
    const ProgramRun run = runProgram({"--inspect", demoModel()});
    QCOMPARE(run.exitCode, 0);
    for (const char* part : {"consolidated.00.pth", "tok_embeddings.weight", "f16", "zip",
                             "layers.0.attention.wq.weight", "Memory", "source"})
        QVERIFY2(run.out.contains(part), part);
    QVERIFY(!run.out.contains("Problems"));
}

void TestTerminalPlain::inspectionAsJson() {
    const ProgramRun run = runProgram({"--inspect", demoModel(), "--json"});
    QCOMPARE(run.exitCode, 0);
    const QJsonObject inspection = jsonLines(run.out).first();
    QVERIFY(inspection["problems"].toArray().isEmpty());
    QVERIFY(inspection["config"].toObject()["layers"].toInt() > 0);
    const QJsonArray tensors = inspection["tensors"].toArray();
    qint64 elements = 0;
    for (const QJsonValue& value : tensors) {
        const QJsonObject tensor = value.toObject();
        qint64 count = 1;
        for (const QJsonValue& extent : tensor["shape"].toArray())
            count *= extent.toInteger();
        QVERIFY(tensor["bytes"].toInteger() >= count);
        elements += count;
    }
    QCOMPARE(inspection["parameters"].toInteger(), elements);
    QVERIFY(!inspection["memory"].toArray().isEmpty());
}

void TestTerminalPlain::inspectionOfNothing() {
    const ProgramRun run = runProgram({"--inspect", "/nonexistent/model", "--json"});
    QCOMPARE(run.exitCode, 1);
    QCOMPARE(run.err.count('\n'), 1);
    QCOMPARE(jsonLines(run.out).first()["event"].toString(), QString("error"));
}

void TestTerminalPlain::inspectionOfAPart() {
    const QTemporaryDir folder;
    QVERIFY(
        QFile::copy(demoModel() + "/consolidated.00.pth", folder.filePath("consolidated.00.pth")));
    const ProgramRun text = runProgram({"--inspect", folder.path()});
    QCOMPARE(text.exitCode, 1);
    for (const char* part : {"not found", "layers.0.attention.wq.weight", "Problems",
                             "params.json is missing beside the weights"})
        QVERIFY2(text.out.contains(part), text.out.constData());
    const ProgramRun json = runProgram({"--inspect", folder.path(), "--json"});
    QCOMPARE(json.exitCode, 1);
    const QJsonObject inspection = jsonLines(json.out).first();
    QCOMPARE(inspection["event"].toString(), QString("inspection"));
    QVERIFY(inspection["params_path"].isNull() && inspection["config"].isNull());
    QVERIFY(inspection["tensors"].toArray().size() > 50);
}

QTEST_GUILESS_MAIN(TestTerminalPlain)
#include "test_terminal_plain.moc"
