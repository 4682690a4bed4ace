// What the real program answers to --bench and --perplexity, on the demo model.
#include <QJsonArray>
#include <QTest>

#include "tests/support/run_program.h"

using namespace qllama;

namespace {

const QStringList kBenchmark = {"--bench", "--bench-prompt", "4", "--bench-tokens",
                                "2",       "--repetitions",  "1"};
const QStringList kPerplexity = {"--perplexity", QLLAMA_RESOURCE_DIR "/demo-model/params.json"};

}  // namespace

class TestTerminalMeasurements : public QObject {
    Q_OBJECT

private slots:
    void measurementsAnswerAndFailAlike_data();
    void measurementsAnswerAndFailAlike();
    void measurementsSayWhereTheModelIs_data() { measurementsAnswerAndFailAlike_data(); }
    void measurementsSayWhereTheModelIs();
    void aPromptOfItsOwnNeedsItsLength();
    void aProfileWithoutDevicesSaysSo();
};

void TestTerminalMeasurements::measurementsAnswerAndFailAlike_data() {
    QTest::addColumn<QStringList>("arguments");
    QTest::addColumn<QString>("event");
    QTest::newRow("benchmark") << kBenchmark << "bench";
    QTest::newRow("perplexity") << kPerplexity << "perplexity";
}

void TestTerminalMeasurements::measurementsAnswerAndFailAlike() {
    QFETCH(QStringList, arguments);
    QFETCH(QString, event);
    const QStringList model = {"--model", demoModel()};
    const ProgramRun plain = runProgram(arguments + model);
    QCOMPARE(plain.exitCode, 0);
    QVERIFY2(plain.out.startsWith("  Model "), plain.out.constData());
    QCOMPARE(plain.err, QByteArray());
    const ProgramRun json = runProgram(arguments + model + QStringList{"--json"});
    QCOMPARE(json.exitCode, 0);
    QCOMPARE(jsonLines(json.out).size(), 1);
    QCOMPARE(jsonLines(json.out).first()["event"].toString(), event);

    arguments += {"--model", "/nonexistent/model"};
    const ProgramRun failed = runProgram(arguments);
    QCOMPARE(failed.exitCode, 1);
    QCOMPARE(failed.out, QByteArray());
    QCOMPARE(failed.err.count('\n'), 1);
    QVERIFY2(failed.err.contains("/nonexistent/model"), failed.err.constData());
    const ProgramRun failedJson = runProgram(arguments + QStringList{"--json"});
    QCOMPARE(failedJson.exitCode, 1);
    QCOMPARE(failedJson.err, failed.err);
    const QList<QJsonObject> events = jsonLines(failedJson.out);
    QCOMPARE(events.size(), 1);
    QCOMPARE(events.first()["event"].toString(), QString("error"));
    QCOMPARE(events.first()["message"].toString() + "\n", QString::fromUtf8(failed.err));
}

// A device that was left out is named, and so is what took its place.
void TestTerminalMeasurements::measurementsSayWhereTheModelIs() {
    QFETCH(QStringList, arguments);
    QFETCH(QString, event);
    arguments += {"--model", demoModel(), "--device", "opencl:99", "--on-device-failure", "cpu"};
    const ProgramRun plain = runProgram(arguments);
    QCOMPARE(plain.exitCode, 0);
    QVERIFY2(plain.err.contains("Note: There is no device 'opencl:99'") &&
                 plain.err.contains("It was left out."),
             plain.err.constData());
    QVERIFY2(plain.out.left(plain.out.indexOf('\n')).contains(", cpu"), plain.out.constData());
    const ProgramRun json = runProgram(arguments + QStringList{"--json"});
    QCOMPARE(json.err, QByteArray());
    const QJsonObject answer = jsonLines(json.out).first();
    QCOMPARE(answer["event"].toString(), event);
    QCOMPARE(answer["device"].toString(), QString("cpu"));
    QVERIFY(answer["notes"].toArray().first().toString().contains("opencl:99"));
    QCOMPARE(answer["placement"].toArray().size(), 1);
}

// And no more: not that of the prompt which is measured without one.
void TestTerminalMeasurements::aPromptOfItsOwnNeedsItsLength() {
    const QStringList seed = {"--headless", "--bench-seed",  "--model",
                              demoModel(),  "--repetitions", "1",
                              "--json",     "--max-seq-len"};
    const ProgramRun fits = runProgram(seed + QStringList{"100"});
    QCOMPARE(fits.exitCode, 0);
    QCOMPARE(jsonLines(fits.out).first()["generated_tokens"].toInt(), 50);
    const ProgramRun longer = runProgram(seed + QStringList{"52"});
    QCOMPARE(longer.exitCode, 1);
    QVERIFY2(longer.err.contains("The benchmark needs "), longer.err.constData());
}

void TestTerminalMeasurements::aProfileWithoutDevicesSaysSo() {
    const ProgramRun run = runProgram(QStringList{"--headless", "--model", demoModel(), "--profile",
                                                  "--prompt", "x", "--max-tokens", "3"});
    QCOMPARE(run.exitCode, 0);
    QVERIFY2(run.err.contains("none of the layers is on one"), run.err.constData());
    const ProgramRun bench = runProgram(kBenchmark + QStringList{"--profile"});
    QCOMPARE(bench.exitCode, 2);
    QCOMPARE(bench.err, QByteArray("--profile works only when a text is generated.\n"));
}

QTEST_GUILESS_MAIN(TestTerminalMeasurements)
#include "test_terminal_measurements.moc"
