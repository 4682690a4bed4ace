// What the program meets outside of itself: limits, streams that do not wait, devices that are not there, a
// model that breaks down in the middle.
#include <QtTest>

#include "tests/support/broken_model.h"
#include "tests/support/run_program.h"

using namespace qllama;
using namespace qllama::test;

class TestTerminalSurroundings : public QObject {
    Q_OBJECT

private slots:
    void aLimitOnFilesIsANote();
    void streamsThatDoNotWait();
    void thePlanIsToldOfTheDevicesThatAreThere();
    void logitsAreKeptWhenTheTextFails();
    void inspectionWithAContext();
    void controlsInNames();
};

namespace {

// With a folder of its own for kept weights.
ProgramRun inShell(const QString& command, const QStringList& arguments, const QString& cache) {
    QProcessEnvironment environment = terminalEnvironment();
    environment.insert("XDG_CACHE_HOME", cache);
    return runCommand("bash", QStringList{"-c", command, QLLAMA_PROGRAM} + arguments, {},
                      environment);
}

}  // namespace

// As a full disk is: the text comes, the weights are made again the next time.
void TestTerminalSurroundings::aLimitOnFilesIsANote() {
    const QTemporaryDir cache;
    const ProgramRun run = inShell("ulimit -f 100; \"$0\" \"$@\"",
                                   {"--headless", "--model", demoModel(), "--prompt", "Once",
                                    "--max-tokens", "5", "--precision", "q4"},
                                   cache.path());
    QVERIFY(!run.crashed);
    QVERIFY2(run.exitCode == 0, run.err.constData());
    QVERIFY(run.out.size() > 4);
    QVERIFY2(run.err.contains("Note: ") && run.err.contains("File too large"), run.err.constData());
}

// O_NONBLOCK, which another program may have set on a terminal or pipe that it shares.
void TestTerminalSurroundings::streamsThatDoNotWait() {
    const QString script =
        "import fcntl, os, subprocess, sys\n"
        "readIn, writeIn = os.pipe()\n"
        "readOut, writeOut = os.pipe()\n"
        "fcntl.fcntl(writeOut, fcntl.F_SETPIPE_SZ, 4096)\n"
        "os.set_blocking(readIn, False)\n"
        "os.set_blocking(writeOut, False)\n"
        "run = subprocess.Popen(sys.argv[1:], stdin=readIn, stdout=writeOut)\n"
        "os.close(readIn)\n"
        "os.close(writeOut)\n"
        "text = b'Once upon a time ' * 600\n"
        "for start in range(0, len(text), 1000):\n"
        "    os.write(writeIn, text[start:start + 1000])\n"
        "os.close(writeIn)\n"
        "out = b''\n"
        "while chunk := os.read(readOut, 1000):\n"
        "    out += chunk\n"
        "sys.exit(run.wait() or out != text)\n";
    const ProgramRun run = runCommand(
        QLLAMA_PYTHON, {"-c", script, QLLAMA_PROGRAM, "--headless", "--model", demoModel(),
                        "--prompt-file", "-", "--max-tokens", "0", "--max-seq-len", "8192"});
    QVERIFY2(run.exitCode == 0, run.err.constData());
}

void TestTerminalSurroundings::thePlanIsToldOfTheDevicesThatAreThere() {
    const ProgramRun run = runDemo({"--prompt", "Once", "--max-tokens", "2", "--json", "--device",
                                    "opencl:77,opencl:0", "--on-device-failure", "cpu"});
    QVERIFY2(run.exitCode == 0, run.err.constData());
    const QList<QJsonObject> lines = jsonLines(run.out);
    QCOMPARE(lines.first()["event"].toString(), "plan");
    QCOMPARE(lines.first()["placement"].toArray().first()["device"].toString(), "opencl:0");
    QCOMPARE(lines[1]["event"].toString(), "model");
}

void TestTerminalSurroundings::logitsAreKeptWhenTheTextFails() {
    const QTemporaryDir folder;
    QVERIFY(copyDemoModel(folder.path()));
    QVERIFY(replaceWeight(folder.path(), "output.weight", 5, kHalfNaN));
    const QString file = folder.filePath("logits.npy");
    const ProgramRun run = runProgram({"--headless", "--model", folder.path(), "--prompt", "Once",
                                       "--max-tokens", "3", "--logits", file});
    QCOMPARE(run.exitCode, 1);
    QVERIFY(QFileInfo(file).size() > 128);
}

void TestTerminalSurroundings::inspectionWithAContext() {
    const auto memory = [](const QStringList& more) {
        const ProgramRun run = runProgram(QStringList{"--inspect", demoModel(), "--json"} + more);
        const QJsonObject inspection = jsonLines(run.out).first();
        const QJsonObject first = inspection["memory"].toArray().first().toObject();
        return std::pair(inspection["context"].toInteger(), first["kv_cache_bytes"].toInteger());
    };
    const auto [length, bytes] = memory({});
    QCOMPARE(memory({"--max-seq-len", QString::number(4 * length)}),
             std::pair(4 * length, 4 * bytes));
}

// U+009B begins a sequence on some terminals, as Escape does on all.
void TestTerminalSurroundings::controlsInNames() {
    for (const QString& control : {QString(QChar(0x9B)), QString(QChar(0x1B))}) {
        const ProgramRun run = runProgram({"--inspect", "/nonexistent/" + control + "31m"});
        QCOMPARE(run.exitCode, 1);
        QVERIFY2(run.err.contains("?31m") && !run.err.contains(control.toUtf8()),
                 run.err.constData());
    }
}

QTEST_GUILESS_MAIN(TestTerminalSurroundings)
#include "test_terminal_surroundings.moc"
