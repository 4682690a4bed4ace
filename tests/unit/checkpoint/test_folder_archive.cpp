// An unzipped checkpoint on a disk that fails while its folders are listed.
#include <dirent.h>
#include <dlfcn.h>

#include <QTemporaryDir>
#include <QtTest>
#include <cerrno>

#include "engine/checkpoint/folder_archive.h"

namespace {

int entriesUntilFailure = -1;  // below 0: the disk is sound

}  // namespace

// In place of the C library's, for the standard library's directory_iterator too.
extern "C" dirent* readdir(DIR* folder) {
    static const auto real = reinterpret_cast<dirent* (*)(DIR*)>(dlsym(RTLD_NEXT, "readdir"));
    if (entriesUntilFailure == 0) {
        errno = EIO;
        return nullptr;
    }
    if (entriesUntilFailure > 0) --entriesUntilFailure;
    return real(folder);
}

using namespace qllama;

class TestFolderArchive : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void cleanup() { entriesUntilFailure = -1; }
    void listsBothFolders();
    void aDiskThatFailsMeanwhileIsAnError_data();
    void aDiskThatFailsMeanwhileIsAnError();

private:
    [[nodiscard]] auto open() const { return openFolderArchive(m_folder.path().toStdString()); }

    QTemporaryDir m_folder;
};

// Two entries for "." and "..", two files and a folder with three files.
void TestFolderArchive::initTestCase() {
    QVERIFY(QDir(m_folder.path()).mkdir("data"));
    for (const char* name : {"data.pkl", "version", "data/0", "data/1", "data/2"}) {
        QFile file(m_folder.filePath(name));
        QVERIFY(file.open(QIODevice::WriteOnly));
        QVERIFY(file.write("bytes") == 5);
    }
}

void TestFolderArchive::listsBothFolders() {
    const auto archive = open();
    QVERIFY(archive.ok());
    QStringList names;
    for (const ArchiveMember& member : archive.value()->members())
        names += QString::fromStdString(member.name);
    names.sort();
    QCOMPARE(names, QStringList({"data.pkl", "data/0", "data/1", "data/2", "version"}));
}

void TestFolderArchive::aDiskThatFailsMeanwhileIsAnError_data() {
    QTest::addColumn<int>("entries");
    QTest::addColumn<QString>("where");
    constexpr int kFolderEntries = 5;
    QTest::newRow("at the first entry") << 0 << "/";
    QTest::newRow("after some entries") << 4 << "/";
    QTest::newRow("instead of the end") << kFolderEntries << "/";
    QTest::newRow("among the tensors") << kFolderEntries + 1 + 3 << "/data";
}

void TestFolderArchive::aDiskThatFailsMeanwhileIsAnError() {
    QFETCH(int, entries);
    QFETCH(QString, where);
    entriesUntilFailure = entries;
    const auto archive = open();
    QVERIFY(!archive.ok());
    QCOMPARE(archive.error().code, ErrorCode::Io);
    QCOMPARE(QString::fromStdString(archive.error().message),
             "Cannot list the folder: Input/output error.");
    QCOMPARE(QString::fromStdString(archive.error().where), m_folder.path() + where);
}

QTEST_GUILESS_MAIN(TestFolderArchive)
#include "test_folder_archive.moc"
