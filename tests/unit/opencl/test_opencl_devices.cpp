// What the program says about OpenCL where drivers are missing, broken or without devices. The loader
// reads its configuration once, so each case is a process of its own.
#include <sys/wait.h>
#include <unistd.h>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QProcess>
#include <QTemporaryDir>
#include <QtTest>
#include <atomic>
#include <barrier>
#include <thread>
#include <vector>

#include "engine/backend/device.h"

class TestOpenClDevices : public QObject {
    Q_OBJECT

private slots:
    void severalThreadsMayLookAtOnce();
    void devicesAreDescribed();
    void withoutDriversTheProcessorRemains();
    void brokenDriversAreNamed_data();
    void brokenDriversAreNamed();
    void planIsShownWithoutLoading();
    void missingDeviceFollowsThePolicy();
    void questionOnATerminalIsAnswered();
    void limitedMemoryIsDividedByPlan();
    void listNamesTheLimitsOfEachDevice();
    void compilingIsShownTheFirstTime();

private:
    struct Run {
        int exitCode = -1;
        QByteArray out;
        QByteArray err;
    };
    static Run run(const QStringList& arguments, const QMap<QString, QString>& variables = {});
    static QJsonObject listDevices(const QString& vendors);
};

QJsonObject TestOpenClDevices::listDevices(const QString& vendors) {
    QProcess program;
    auto environment = QProcessEnvironment::systemEnvironment();
    if (!vendors.isEmpty()) environment.insert("OCL_ICD_VENDORS", vendors);
    program.setProcessEnvironment(environment);
    program.start(QLLAMA_PROGRAM, {"--list-devices", "--json"});
    if (!program.waitForFinished(120000) || program.exitStatus() != QProcess::NormalExit ||
        program.exitCode() != 0)
        return {};
    return QJsonDocument::fromJson(program.readAllStandardOutput()).object();
}

// In processes whose drivers nobody has started yet. (Of twenty some crash without a lock.)
void TestOpenClDevices::severalThreadsMayLookAtOnce() {
    constexpr int kProcesses = 20;
    constexpr int kThreads = 4;
    for (int process = 0; process < kProcesses; ++process) {
        const pid_t child = fork();
        QVERIFY(child >= 0);
        if (child == 0) {
            std::barrier start(kThreads);
            std::vector<std::thread> threads;
            std::atomic<bool> same{true};
            for (int thread = 0; thread < kThreads; ++thread)
                threads.emplace_back([&] {
                    start.arrive_and_wait();
                    if (qllama::listDevices().devices.size() < 2) same = false;
                });
            for (std::thread& thread : threads)
                thread.join();
            _exit(same ? 0 : 1);
        }
        int status = -1;
        QCOMPARE(waitpid(child, &status, 0), child);
        QVERIFY2(WIFEXITED(status), "A search for devices crashed.");
        QCOMPARE(WEXITSTATUS(status), 0);
    }
}

void TestOpenClDevices::devicesAreDescribed() {
    const QJsonArray devices = listDevices({})["devices"].toArray();
    QVERIFY2(devices.size() >= 2, "No OpenCL device: install pocl-opencl-icd to run these tests.");
    QCOMPARE(devices[0].toObject()["id"].toString(), QString("cpu"));
    for (int i = 1; i < devices.size(); ++i) {
        const QJsonObject device = devices[i].toObject();
        QCOMPARE(device["id"].toString(), QString("opencl:%1").arg(i - 1));
        for (const char* key : {"name", "vendor", "platform", "driver"})
            QVERIFY2(!device[key].toString().isEmpty(), key);
        QVERIFY(device["compute_units"].toInt() >= 1);
        QVERIFY(device["memory_bytes"].toDouble() >= device["max_allocation_bytes"].toDouble());
        QVERIFY(device["max_allocation_bytes"].toDouble() > 0);
        QCOMPARE(device["is_host_processor"].toBool(), device["kind"].toString() == "cpu");
    }
}

void TestOpenClDevices::withoutDriversTheProcessorRemains() {
    const QTemporaryDir empty;
    const QJsonObject list = listDevices(empty.path());
    QCOMPARE(list["devices"].toArray().size(), 1);
    const QJsonArray notes = list["notes"].toArray();
    QCOMPARE(notes.size(), 1);
    QVERIFY(notes[0].toString().contains("No OpenCL driver is installed"));
    QVERIFY(notes[0].toString().contains("pocl-opencl-icd"));
}

void TestOpenClDevices::brokenDriversAreNamed_data() {
    QTest::addColumn<QByteArray>("content");
    QTest::addColumn<QString>("reason");
    QTest::newRow("missing library")
        << QByteArray("libno-such-driver.so.9\n") << QString("libno-such-driver.so.9");
    QTest::newRow("not a driver") << QByteArray("libz.so.1\n") << QString("not an OpenCL driver");
    QTest::newRow("empty file") << QByteArray() << QString("names no library");
}

void TestOpenClDevices::brokenDriversAreNamed() {
    QFETCH(QByteArray, content);
    QFETCH(QString, reason);
    const QTemporaryDir folder;
    QFile file(folder.filePath("broken.icd"));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(content);
    file.close();
    const QJsonObject list = listDevices(folder.path());
    QCOMPARE(list["devices"].toArray().size(), 1);
    const QString first = list["notes"].toArray()[0].toString();
    QVERIFY2(first.contains("broken.icd") && first.contains(reason), qPrintable(first));
}

TestOpenClDevices::Run TestOpenClDevices::run(const QStringList& arguments,
                                              const QMap<QString, QString>& variables) {
    QProcess program;
    auto environment = QProcessEnvironment::systemEnvironment();
    for (auto entry = variables.begin(); entry != variables.end(); ++entry)
        environment.insert(entry.key(), entry.value());
    program.setProcessEnvironment(environment);
    program.start(QLLAMA_PROGRAM, arguments);
    program.closeWriteChannel();
    if (!program.waitForFinished(120000) || program.exitStatus() != QProcess::NormalExit) return {};
    return {program.exitCode(), program.readAllStandardOutput(), program.readAllStandardError()};
}

void TestOpenClDevices::planIsShownWithoutLoading() {
    const QStringList where = {"--plan", "--device", "opencl:0,cpu", "--split", "4,2"};
    const Run json = run(where + QStringList{"--json"});
    QCOMPARE(json.exitCode, 0);
    const QJsonObject plan = QJsonDocument::fromJson(json.out).object();
    QCOMPARE(plan["event"].toString(), QString("plan"));
    const QJsonArray stages = plan["placement"].toArray();
    QCOMPARE(stages.size(), 2);
    QCOMPARE(stages[0].toObject()["device"].toString(), QString("opencl:0"));
    QCOMPARE(stages[1].toObject()["first_layer"].toInt(), 4);
    QVERIFY(stages[0].toObject()["memory_bytes"].toDouble() >
            stages[0].toObject()["weights_bytes"].toDouble());
    const Run plain = run(where);
    QCOMPARE(plain.exitCode, 0);
    for (const char* part : {"weights", "KV cache", "opencl:0", "0-3", "4-5", "cpu"})
        QVERIFY2(plain.out.contains(part), plain.out.constData());
    // And before a model is loaded there.
    const Run loading =
        run({"--headless", "--device", "opencl:0", "--prompt", "a", "--max-tokens", "1"});
    QVERIFY2(loading.err.contains("KV cache"), loading.err.constData());
    QVERIFY(run({"--plan", "--device", "opencl:99"}).exitCode != 0);
}

void TestOpenClDevices::missingDeviceFollowsThePolicy() {
    const QStringList generate = {"--headless",   "--device", "opencl:99", "--prompt", "Once",
                                  "--max-tokens", "5",        "--seed",    "3"};
    const QByteArray text =
        run({"--headless", "--prompt", "Once", "--max-tokens", "5", "--seed", "3"}).out;
    for (const QStringList& policy : {QStringList{}, QStringList{"--on-device-failure", "stop"},
                                      QStringList{"--on-device-failure", "ask"}}) {
        const Run stopped = run(generate + policy);
        QVERIFY(stopped.exitCode != 0);
        QVERIFY(stopped.out.isEmpty());
        QVERIFY2(stopped.err.contains("opencl:99"), stopped.err.constData());
    }
    const Run left = run(generate + QStringList{"--on-device-failure", "cpu"});
    QCOMPARE(left.exitCode, 0);
    QCOMPARE(left.out, text);
    QVERIFY2(left.err.contains("opencl:99"), left.err.constData());
}

void TestOpenClDevices::questionOnATerminalIsAnswered() {
    const QString command = QString(
                                "NO_COLOR=1 '%1' --headless --device opencl:99 --prompt Once "
                                "--max-tokens 5 --seed 3")
                                .arg(QLLAMA_PROGRAM);
    const QByteArray text =
        run({"--headless", "--prompt", "Once", "--max-tokens", "5", "--seed", "3"}).out.trimmed();
    for (const auto& [answer, goesOn] :
         {std::pair{"y\n", true}, {"n\n", false}, {"\n", false}, {"\x03", false}}) {
        QProcess terminal;  // script gives the program a terminal of its own
        terminal.start("script", {"--quiet", "--return", "--command", command, "/dev/null"});
        QByteArray shown;
        while (!shown.contains("[y/N]") && terminal.waitForReadyRead(60000))
            shown += terminal.readAll();
        QVERIFY2(shown.contains("opencl:99"), shown.constData());
        terminal.write(answer);
        QVERIFY(terminal.waitForFinished(60000));
        shown += terminal.readAll();
        QVERIFY2((terminal.exitCode() == 0) == goesOn, shown.constData());
        QVERIFY2(shown.contains(text) == goesOn, shown.constData());
    }
}

void TestOpenClDevices::listNamesTheLimitsOfEachDevice() {
    const Run list = run({"--list-devices"});
    QCOMPARE(list.exitCode, 0);
    const qsizetype devices = listDevices({})["devices"].toArray().size();
    QList<qsizetype> columns;
    for (const QByteArray& line : list.out.split('\n')) {
        if (!line.startsWith("  opencl:")) continue;
        QVERIFY2(line.contains("iB") && line.contains("  f16 "), line.constData());
        columns += line.indexOf("largest buffer ");
    }
    QCOMPARE(columns.size(), devices - 1);
    for (const qsizetype column : columns)
        QVERIFY(column > 0 && column == columns.front());
}

void TestOpenClDevices::limitedMemoryIsDividedByPlan() {
    // PoCL counts in whole GB; with a context of that length the KV cache takes as much.
    const QStringList generate = {"--headless", "--prompt",      "Once",   "--max-tokens",
                                  "8",          "--max-seq-len", "640000", "--seed",
                                  "3",          "--json"};
    const QMap<QString, QString> limited = {{"POCL_MEMORY_LIMIT", "1"},
                                            {"POCL_DEVICES", "pthread"},
                                            {"OCL_ICD_VENDORS", "/etc/OpenCL/vendors/pocl.icd"}};
    const auto textOf = [](const Run& run) {
        const auto done = QJsonDocument::fromJson(run.out.trimmed().split('\n').last()).object();
        return done["text"].toString();
    };
    const Run divided = run(generate + QStringList{"--device", "opencl:0"}, limited);
    QVERIFY2(divided.exitCode == 0, divided.err.constData());
    const QJsonArray stages =
        QJsonDocument::fromJson(divided.out.split('\n').first()).object()["placement"].toArray();
    QCOMPARE(stages.size(), 2);
    QCOMPARE(stages[1].toObject()["device"].toString(), QString("cpu"));
    QCOMPARE(textOf(divided), textOf(run(generate)));
    QVERIFY(!textOf(divided).isEmpty());
    // Told not to divide: both numbers, and no crash.
    const Run strict =
        run(generate + QStringList{"--device", "opencl:0", "--strict-device"}, limited);
    QVERIFY(strict.exitCode != 0);
    QVERIFY2(strict.err.contains("does not fit"), strict.err.constData());
}

void TestOpenClDevices::compilingIsShownTheFirstTime() {
    const QTemporaryDir cache;
    auto environment = QProcessEnvironment::systemEnvironment();
    environment.insert("XDG_CACHE_HOME", cache.path());
    environment.insert("TERM", "xterm");
    const QString command =
        QString("'%1' --headless --device opencl:0 --prompt Once --max-tokens 1")
            .arg(QLLAMA_PROGRAM);
    for (const bool isFirst : {true, false}) {
        QProcess terminal;
        terminal.setProcessEnvironment(environment);
        terminal.start("script", {"--quiet", "--return", "--command", command, "/dev/null"});
        QVERIFY(terminal.waitForFinished(120000));
        QCOMPARE(terminal.exitCode(), 0);
        const QByteArray shown = terminal.readAll();
        QVERIFY2(shown.contains("\rCompiling the kernels of opencl:0\x1b[K") == isFirst,
                 shown.constData());
        QVERIFY2(shown.contains("\rLoading  "), shown.constData());
        QVERIFY(!shown.mid(shown.indexOf("Once")).contains("Compiling"));
    }
}

QTEST_GUILESS_MAIN(TestOpenClDevices)
#include "test_opencl_devices.moc"
