// Files in place: their bytes, their lifetime, and what cannot be mapped.
#include <sys/stat.h>

#include <QtTest>
#include <algorithm>

#include "engine/common/mapped_file.h"

using namespace qllama;

class TestMappedFile : public QObject {
    Q_OBJECT

private slots:
    void givesTheBytesOfTheFile();
    void bytesOutliveNameAndReplacement();
    void openingIsIndependentOfSize();
    void releasedBytesReadTheSame();
    void populatedBytesReadTheSame();
    void rangesNeedNotBeAligned();
    void missingFileIsNotFound();
    void fileAsFolderIsNotFound();
    void emptyFileIsRefused();
    void folderIsRefused();
    void pipeIsRefusedAtOnce();
    void unreadableFileIsAnIoError();

private:
    std::filesystem::path write(const char* name, const QByteArray& bytes);
    QTemporaryDir m_folder;
};

std::filesystem::path TestMappedFile::write(const char* name, const QByteArray& bytes) {
    QFile file(m_folder.filePath(name));
    if (!file.open(QIODevice::WriteOnly) || file.write(bytes) != bytes.size())
        qFatal("cannot write %s", name);
    return file.fileName().toStdString();
}

namespace {

QByteArray patterned(int size) {
    QByteArray bytes(size, Qt::Uninitialized);
    for (int index = 0; index < size; ++index)
        bytes[index] = static_cast<char>((index * 7 + index / 4096) & 0xFF);
    return bytes;
}

bool same(std::span<const std::byte> bytes, const QByteArray& expected) {
    return QByteArray::fromRawData(reinterpret_cast<const char*>(bytes.data()),
                                   qsizetype(bytes.size())) == expected;
}

}  // namespace

void TestMappedFile::givesTheBytesOfTheFile() {
    for (const int size : {1, 4095, 4096, 4097, 100'000}) {
        const auto path = write("plain", patterned(size));
        const auto file = MappedFile::open(path);
        QVERIFY(file.ok());
        QCOMPARE(file.value()->path(), path);
        QVERIFY(same(file.value()->bytes(), patterned(size)));
    }
}

void TestMappedFile::bytesOutliveNameAndReplacement() {
    const auto path = write("old", patterned(5000));
    const auto file = MappedFile::open(path);
    QVERIFY(file.ok());
    std::filesystem::rename(write("new", "something else"), path);
    QVERIFY(same(file.value()->bytes(), patterned(5000)));
    std::filesystem::remove(path);
    QVERIFY(same(file.value()->bytes(), patterned(5000)));
}

void TestMappedFile::openingIsIndependentOfSize() {
    const auto path = write("sparse", "start");
    constexpr qint64 kSize = qint64{20} << 30;  // more than fits in memory, if it were copied
    if (!QFile::resize(m_folder.filePath("sparse"), kSize)) qFatal("no sparse files here");
    const auto file = MappedFile::open(path);
    QVERIFY(file.ok());
    QCOMPARE(qint64(file.value()->bytes().size()), kSize);
    QVERIFY(same(file.value()->bytes().first(5), "start"));
    QCOMPARE(file.value()->bytes().back(), std::byte{0});
    std::filesystem::remove(path);
}

void TestMappedFile::releasedBytesReadTheSame() {
    const QByteArray expected = patterned(300'000);
    const auto file = MappedFile::open(write("released", expected));
    QVERIFY(same(file.value()->bytes(), expected));
    file.value()->release(file.value()->bytes());
    QVERIFY(same(file.value()->bytes(), expected));
}

void TestMappedFile::populatedBytesReadTheSame() {
    const QByteArray expected = patterned(300'000);
    const auto file = MappedFile::open(write("populated", expected));
    file.value()->populate(file.value()->bytes());
    QVERIFY(same(file.value()->bytes(), expected));
}

void TestMappedFile::rangesNeedNotBeAligned() {
    const QByteArray expected = patterned(50'000);
    const auto file = MappedFile::open(write("ranges", expected));
    const auto bytes = file.value()->bytes();
    for (const std::size_t offset : {0U, 1U, 4095U, 4096U, 4097U, 49'999U, 50'000U})
        for (const std::size_t length : {0U, 1U, 100U, 4096U, 9000U, 50'000U}) {
            const auto range = bytes.subspan(offset, std::min(length, bytes.size() - offset));
            file.value()->release(range);
            file.value()->populate(range);
        }
    QVERIFY(same(bytes, expected));
}

void TestMappedFile::missingFileIsNotFound() {
    const auto path = std::filesystem::path(m_folder.filePath("nowhere").toStdString());
    const auto file = MappedFile::open(path);
    QVERIFY(!file.ok());
    QCOMPARE(file.error().code, ErrorCode::NotFound);
    QCOMPARE(file.error().where, path.string());
    QCOMPARE(file.error().message, std::string("Cannot open the file: No such file or directory."));
}

void TestMappedFile::fileAsFolderIsNotFound() {
    const auto file = MappedFile::open(write("file", "x") / "below");
    QVERIFY(!file.ok());
    QCOMPARE(file.error().code, ErrorCode::NotFound);
}

void TestMappedFile::emptyFileIsRefused() {
    const auto file = MappedFile::open(write("empty", {}));
    QVERIFY(!file.ok());
    QCOMPARE(file.error().code, ErrorCode::InvalidFile);
    QCOMPARE(file.error().message, std::string("The file is empty."));
}

void TestMappedFile::folderIsRefused() {
    const auto file = MappedFile::open(m_folder.path().toStdString());
    QVERIFY(!file.ok());
    QCOMPARE(file.error().code, ErrorCode::InvalidFile);
    QCOMPARE(file.error().message, std::string("This is not a regular file."));
}

// Opening a pipe that nobody writes to would wait forever.
void TestMappedFile::pipeIsRefusedAtOnce() {
    const QByteArray path = m_folder.filePath("pipe").toUtf8();
    QCOMPARE(::mkfifo(path.constData(), 0600), 0);
    const auto file = MappedFile::open(path.toStdString());
    QVERIFY(!file.ok());
    QCOMPARE(file.error().message, std::string("This is not a regular file."));
}

void TestMappedFile::unreadableFileIsAnIoError() {
    // Root may read everything; a file with a name that is too long fails for everybody.
    const auto file = MappedFile::open(m_folder.filePath(QString(300, 'n')).toStdString());
    QVERIFY(!file.ok());
    QCOMPARE(file.error().code, ErrorCode::Io);
    QVERIFY(file.error().message.starts_with("Cannot open the file: "));
}

QTEST_GUILESS_MAIN(TestMappedFile)
#include "test_mapped_file.moc"
