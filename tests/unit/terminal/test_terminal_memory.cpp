// The peak memory of a run: the mapped weights and the KV cache, and little besides.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <QTemporaryDir>
#include <QTest>

#include "tests/support/run_program.h"

using namespace qllama;

namespace {

constexpr qint64 kMebibyte = qint64{1} << 20;

struct MeasuredRun {
    int status = -1;
    qint64 peakBytes = 0;  // resident, as the system counted it for this process alone
    QByteArray out;
};

// QProcess would take the exit status for itself, and the peak with it.
MeasuredRun measure(const QStringList& arguments, const QString& outPath) {
    std::vector<std::string> texts = {QLLAMA_PROGRAM};
    for (const QString& argument : arguments)
        texts.push_back(argument.toStdString());
    std::vector<char*> pointers;
    for (std::string& text : texts)
        pointers.push_back(text.data());
    pointers.push_back(nullptr);
    const std::string out = outPath.toStdString();
    const pid_t child = ::fork();
    if (child == 0) {
        const int descriptor = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ::dup2(descriptor, STDOUT_FILENO);
        ::execv(pointers.front(), pointers.data());
        ::_exit(127);
    }
    MeasuredRun run;
    rusage usage{};
    ::wait4(child, &run.status, 0, &usage);
    run.peakBytes = qint64{usage.ru_maxrss} * 1024;
    QFile file(outPath);
    if (file.open(QIODevice::ReadOnly)) run.out = file.readAll();
    return run;
}

}  // namespace

class TestTerminalMemory : public QObject {
    Q_OBJECT

private slots:
    void peakIsWeightsAndKvCacheAndLittleElse_data();
    void peakIsWeightsAndKvCacheAndLittleElse();
};

void TestTerminalMemory::peakIsWeightsAndKvCacheAndLittleElse_data() {
    QTest::addColumn<QString>("precision");
    QTest::addColumn<qint64>("leastWeights");
    QTest::newRow("as in the file") << "f16" << 100 * kMebibyte;
    QTest::newRow("kept from an earlier run") << "q4" << 30 * kMebibyte;
}

void TestTerminalMemory::peakIsWeightsAndKvCacheAndLittleElse() {
    QFETCH(QString, precision);
    QFETCH(qint64, leastWeights);
    QTemporaryDir folder;
    const ProgramRun made =
        runCommand(QLLAMA_PYTHON, {QLLAMA_TEST_SOURCE_DIR "/unit/terminal/make_large_model.py",
                                   folder.path(), demoModel() + "/tokenizer.model"});
    QVERIFY2(made.exitCode == 0, made.err.constData());
    // A prompt long enough to need the largest batch of the prefill.
    const QString prompt = QString("Once upon a time there was a fox. ").repeated(60);
    const QStringList arguments = {
        "--headless",   "--json",   "--model", folder.path(),  "--precision",
        precision,      "--prompt", prompt,    "--max-tokens", "8",
        "--ignore-eos", "--seed",   "1"};
    if (precision == "q4") QCOMPARE(measure(arguments, folder.filePath("first.jsonl")).status, 0);
    const MeasuredRun run = measure(arguments, folder.filePath("out.jsonl"));
    QCOMPARE(run.status, 0);
    const QJsonObject model = jsonLines(run.out).first();
    QCOMPARE(model["precision"].toString(), precision);
    const qint64 weights = model["weights_bytes"].toInteger();
    const qint64 cache = model["kv_cache_bytes"].toInteger();
    QVERIFY(weights > leastWeights);
    const qint64 besides = run.peakBytes - weights - cache;
    qInfo("%lld MiB besides weights (%lld MiB) and KV cache (%lld MiB)", besides / kMebibyte,
          weights / kMebibyte, cache / kMebibyte);
    QVERIFY(besides <= 64 * kMebibyte);
}

QTEST_GUILESS_MAIN(TestTerminalMemory)
#include "test_terminal_memory.moc"
