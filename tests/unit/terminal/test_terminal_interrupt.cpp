// Ctrl-C: the first asks, the second does not.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <QTemporaryDir>
#include <QTest>
#include <chrono>
#include <csignal>
#include <semaphore>

#include "gui/terminal/interrupt_watcher.h"
#include "tests/support/run_program.h"

using namespace qllama;

namespace {

// More than any test waits for, so that only the signal can end it.
const QStringList kEndless = {"--headless",    "--model", demoModel(),    "--prompt", "Once",
                              "--max-tokens",  "-1",      "--ignore-eos", "--seed",   "4",
                              "--max-seq-len", "262144"};

// Starts an endless generation, waits until `sign` was printed, sends the signal.
ProgramRun interrupted(const QStringList& more, const QByteArray& sign, int signal) {
    QProcess process;
    process.setProcessEnvironment(terminalEnvironment());
    // The test itself may run in the background of a shell, with the signal ignored.
    process.setChildProcessModifier([signal] { std::signal(signal, SIG_DFL); });
    process.start(QStringLiteral(QLLAMA_PROGRAM), kEndless + more);
    QByteArray out;
    while (!out.contains(sign) && process.waitForReadyRead(-1))
        out += process.readAllStandardOutput();
    ::kill(static_cast<pid_t>(process.processId()), signal);
    process.waitForFinished(-1);
    return {process.exitCode(), process.exitStatus() == QProcess::CrashExit,
            out + process.readAllStandardOutput(), process.readAllStandardError()};
}

// In a child of its own: a watcher, `signalCount` signals, each waited for. Returns how it ended.
int statusAfterSignals(int signalCount) {
    const pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGINT, SIG_DFL);
        std::stop_source stop;
        std::binary_semaphore asked(0);
        const std::stop_callback callback(stop.get_token(), [&asked] { asked.release(); });
        {
            const InterruptWatcher watcher(stop);
            ::kill(::getpid(), SIGINT);
            asked.acquire();
            if (signalCount > 1) {
                ::kill(::getpid(), SIGINT);
                while (true)
                    ::pause();
            }
        }
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
}

}  // namespace

class TestTerminalInterrupt : public QObject {
    Q_OBJECT

private slots:
    void signalEndsWithDone_data();
    void signalEndsWithDone();
    void statisticsAreStillPrinted();
    void firstSignalAsks();
    void secondSignalKills();
    void endsWhileATextIsReadFromAPipe();
    void ignoredSignalsStaySo_data() { signalEndsWithDone_data(); }
    void ignoredSignalsStaySo();
};

void TestTerminalInterrupt::signalEndsWithDone_data() {
    QTest::addColumn<int>("signal");
    QTest::newRow("SIGINT") << SIGINT;
    QTest::newRow("SIGTERM") << SIGTERM;
}

void TestTerminalInterrupt::signalEndsWithDone() {
    QFETCH(int, signal);
    const ProgramRun run = interrupted({"--json"}, "\"token\"", signal);
    QVERIFY(!run.crashed);
    QCOMPARE(run.exitCode, 0);
    QCOMPARE(run.err, QByteArray());
    const QList<QJsonObject> events = jsonLines(run.out);
    const QJsonObject done = events.last();
    QCOMPARE(done["event"].toString(), QString("done"));
    QCOMPARE(done["reason"].toString(), QString("cancelled"));
    QCOMPARE(done["tokens"].toInteger(), qint64{eventsNamed(events, "token").size()});
}

void TestTerminalInterrupt::statisticsAreStillPrinted() {
    const ProgramRun run = interrupted({}, "Once ", SIGINT);
    QVERIFY(!run.crashed);
    QCOMPARE(run.exitCode, 0);
    QCOMPARE(run.err.count('\n'), 1);
    QVERIFY2(run.err.contains("cancelled") && run.err.contains("seed 4"), run.err.constData());
}

void TestTerminalInterrupt::firstSignalAsks() {
    const int status = statusAfterSignals(1);
    QVERIFY(WIFEXITED(status));
    QCOMPARE(WEXITSTATUS(status), 0);
}

void TestTerminalInterrupt::secondSignalKills() {
    const int status = statusAfterSignals(2);
    QVERIFY(WIFSIGNALED(status));
    QCOMPARE(WTERMSIG(status), SIGINT);
}

void TestTerminalInterrupt::endsWhileATextIsReadFromAPipe() {
    const QTemporaryDir folder;
    const std::string pipe = folder.filePath("pipe").toStdString();
    QCOMPARE(::mkfifo(pipe.c_str(), 0600), 0);
    QProcess process;
    process.setProcessEnvironment(terminalEnvironment());
    process.setChildProcessModifier([] { std::signal(SIGINT, SIG_DFL); });
    process.start(QStringLiteral(QLLAMA_PROGRAM), {"--headless", "--model", demoModel(),
                                                   "--perplexity", QString::fromStdString(pipe)});
    const int writing = ::open(pipe.c_str(), O_WRONLY);  // waits for who reads
    ::kill(static_cast<pid_t>(process.processId()), SIGINT);
    ::close(writing);
    process.waitForFinished(-1);
    QCOMPARE(process.exitStatus(), QProcess::CrashExit);
}

// In a child of its own, as in firstSignalAsks(); other signals are still watched.
void TestTerminalInterrupt::ignoredSignalsStaySo() {
    QFETCH(int, signal);
    const pid_t child = ::fork();
    if (child == 0) {
        const int other = signal == SIGINT ? SIGTERM : SIGINT;
        std::signal(signal, SIG_IGN);
        std::signal(other, SIG_DFL);
        std::stop_source stop;
        std::binary_semaphore asked(0);
        const std::stop_callback callback(stop.get_token(), [&asked] { asked.release(); });
        bool wasAsked = false;
        {
            const InterruptWatcher watcher(stop);
            ::kill(::getpid(), signal);
            ::kill(::getpid(), signal);
            wasAsked = asked.try_acquire_for(std::chrono::milliseconds(200));
            ::kill(::getpid(), other);
            asked.acquire();
        }
        ::_exit(wasAsked ? 1 : 0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    QVERIFY(WIFEXITED(status));
    QCOMPARE(WEXITSTATUS(status), 0);
}

QTEST_GUILESS_MAIN(TestTerminalInterrupt)
#include "test_terminal_interrupt.moc"
