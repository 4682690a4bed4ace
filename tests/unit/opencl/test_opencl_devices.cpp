// What the program says about OpenCL where drivers are missing, broken or without devices. The loader
// reads its configuration once, so each case is a process of its own.
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QProcess>
#include <QTemporaryDir>
#include <QtTest>

class TestOpenClDevices : public QObject {
    Q_OBJECT

private slots:
    void devicesAreDescribed();
    void withoutDriversTheProcessorRemains();
    void brokenDriversAreNamed_data();
    void brokenDriversAreNamed();

private:
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

QTEST_GUILESS_MAIN(TestOpenClDevices)
#include "test_opencl_devices.moc"
