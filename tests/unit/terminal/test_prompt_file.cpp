// A prompt file is used byte for byte.
#include <QTemporaryDir>
#include <QTest>

#include "gui/prompt_file.h"

using namespace qllama;

class TestPromptFile : public QObject {
    Q_OBJECT

private slots:
    void everyByteIsKept();
    void missingFileIsNamed();
    void folderIsRefused();
    void endlessFileIsRefused();
};

void TestPromptFile::everyByteIsKept() {
    QByteArray bytes("\xEF\xBB\xBF  a\r\n\n", 9);
    for (int round = 0; round < 1000; ++round)
        for (int value = 0; value < 256; ++value)
            bytes += static_cast<char>(value);
    QTemporaryDir folder;
    QFile file(folder.filePath("prompt.txt"));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(bytes);
    file.close();
    const auto text = readPromptFile(file.fileName().toStdString());
    QVERIFY(text.ok());
    QCOMPARE(text.value(), bytes.toStdString());
}

void TestPromptFile::missingFileIsNamed() {
    const auto text = readPromptFile("/nonexistent/prompt.txt");
    QVERIFY(!text.ok());
    QVERIFY(text.error().code == ErrorCode::NotFound);
    QCOMPARE(text.error().text(), std::string("Cannot read the text: No such file or directory. "
                                              "(/nonexistent/prompt.txt)"));
}

void TestPromptFile::folderIsRefused() {
    const auto text = readPromptFile("/");
    QVERIFY(!text.ok());
    QVERIFY(text.error().message.find("directory") != std::string::npos);
}

void TestPromptFile::endlessFileIsRefused() {
    const auto text = readPromptFile("/dev/zero");
    QVERIFY(!text.ok());
    QVERIFY(text.error().message.find("64 MiB") != std::string::npos);
}

QTEST_APPLESS_MAIN(TestPromptFile)
#include "test_prompt_file.moc"
