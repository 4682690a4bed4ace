// NumPy itself reads what we write; a file that could not be finished leaves nothing behind.
#include <QDir>
#include <QProcess>
#include <QTemporaryDir>
#include <QTest>
#include <vector>

#include "gui/terminal/npy_file.h"
#include "tests/support/small_disk.h"

using namespace qllama;

class TestNpyFile : public QObject {
    Q_OBJECT

private slots:
    void numpyReadsIt_data();
    void numpyReadsIt();
    void abandonedLeavesNothing();
    void theOldFileStaysUntilTheEnd();
    void folderThatIsMissing();
    void deviceIsNotReplaced();
    void nameThatIsNoUtf8();
    void fullDisk_data();
    void fullDisk();
};

void TestNpyFile::numpyReadsIt_data() {
    QTest::addColumn<int>("length");
    // Lengths with more and more digits move the padding of the header.
    for (const int length : {0, 1, 7, 100, 32000, 1234567})
        QTest::addRow("%d values", length) << length;
}

void TestNpyFile::numpyReadsIt() {
    QFETCH(int, length);
    QTemporaryDir folder;
    const QString path = folder.filePath("logits.npy");
    std::vector<float> values;
    for (int index = 0; index < length; ++index)
        values.push_back(static_cast<float>(index) / 3 - 5);
    auto file = NpyFile::open(path.toStdString());
    QVERIFY(file.ok());
    QVERIFY(file.value()->write(values).ok());
    QProcess python;
    python.start(QLLAMA_PYTHON,
                 {"-c",
                  "import numpy, sys\n"
                  "values = numpy.load(sys.argv[1])\n"
                  "n = int(sys.argv[2])\n"
                  "assert values.dtype == numpy.dtype('<f4') and values.shape == (n,)\n"
                  "expected = numpy.arange(n, dtype='f4') / numpy.float32(3) - numpy.float32(5)\n"
                  "assert (values == expected).all()\n"
                  "header = open(sys.argv[1], 'rb').read(10)\n"
                  "assert header[:8] == b'\\x93NUMPY\\x01\\x00'\n"
                  "assert (10 + header[8] + 256 * header[9]) % 64 == 0\n",
                  path, QString::number(length)});
    QVERIFY(python.waitForFinished());
    QVERIFY2(python.exitCode() == 0, python.readAllStandardError().constData());
}

void TestNpyFile::abandonedLeavesNothing() {
    QTemporaryDir folder;
    {
        const auto file = NpyFile::open(folder.filePath("logits.npy").toStdString());
        QVERIFY(file.ok());
    }
    QVERIFY(QDir(folder.path()).isEmpty());
}

void TestNpyFile::theOldFileStaysUntilTheEnd() {
    QTemporaryDir folder;
    QFile old(folder.filePath("logits.npy"));
    QVERIFY(old.open(QIODevice::WriteOnly));
    old.write("old");
    old.close();
    auto file = NpyFile::open(old.fileName().toStdString());
    QVERIFY(file.ok());
    QVERIFY(old.open(QIODevice::ReadOnly));
    QCOMPARE(old.readAll(), QByteArray("old"));
    old.close();
    const std::vector<float> values = {1};
    QVERIFY(file.value()->write(values).ok());
    QVERIFY(old.open(QIODevice::ReadOnly));
    QVERIFY(old.readAll().startsWith("\x93NUMPY"));
}

void TestNpyFile::folderThatIsMissing() {
    const auto file = NpyFile::open("/nonexistent/logits.npy");
    QVERIFY(!file.ok());
    QCOMPARE(file.error().where, std::string("/nonexistent/logits.npy"));
}

void TestNpyFile::deviceIsNotReplaced() {
    const auto file = NpyFile::open("/dev/null");
    QVERIFY(!file.ok());
    QVERIFY(file.error().message.find("regular file") != std::string::npos);
}

void TestNpyFile::nameThatIsNoUtf8() {
    const QTemporaryDir folder;
    const auto file = NpyFile::open(folder.filePath("a").toStdString() + "\xFF.npy");
    QVERIFY(!file.ok());
    QVERIFY(file.error().message.find("UTF-8") != std::string::npos);
    QVERIFY(QDir(folder.path()).isEmpty());
}

void TestNpyFile::fullDisk_data() {
    QTest::addColumn<int>("length");
    // Qt holds back what is shorter than 16 KiB until the end, and hands over the rest at once.
    QTest::newRow("held back") << 500;
    QTest::newRow("handed over") << 32000;
}

void TestNpyFile::fullDisk() {
    QFETCH(int, length);
    QTemporaryDir folder;
    auto file = NpyFile::open(folder.filePath("logits.npy").toStdString());
    QVERIFY(file.ok());
    {
        const SmallDisk disk(1000);
        const auto written =
            file.value()->write(std::vector<float>(static_cast<std::size_t>(length)));
        QVERIFY(!written.ok());
        QVERIFY2(written.error().message.starts_with("Cannot write the logits: File too large"),
                 written.error().message.c_str());
    }
    file.value().reset();
    QVERIFY(QDir(folder.path()).isEmpty());
}

QTEST_APPLESS_MAIN(TestNpyFile)
#include "test_npy_file.moc"
