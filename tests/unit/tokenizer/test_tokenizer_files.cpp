// What open() says to files that are not a tokenizer, or only a part of one.
#include <QtTest>

#include "engine/sampling/random_generator.h"
#include "engine/tokenizer/tokenizer.h"
#include "trained_models.h"

using namespace qllama;

class TestTokenizerFiles : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void missingFile();
    void folder();
    void tooLarge();
    void strangeFiles_data();
    void strangeFiles();
    void missingSpecialPieces_data();
    void missingSpecialPieces();
    void everyCutIsRefused();
    void damagedFilesNeverCrash_data();
    void damagedFilesNeverCrash();

private:
    test::TrainedModels m_models;
};

void TestTokenizerFiles::initTestCase() {
    const QString problem = m_models.train();
    QVERIFY2(problem.isEmpty(), qPrintable(problem));
}

void TestTokenizerFiles::missingFile() {
    const auto opened = Tokenizer::open(m_models.path("nowhere.model"));
    QVERIFY(!opened.ok());
    QCOMPARE(opened.error().code, ErrorCode::NotFound);
    QCOMPARE(opened.error().where, m_models.path("nowhere.model").string());
    QVERIFY(opened.error().message.ends_with('.'));
}

void TestTokenizerFiles::folder() {
    const auto opened = Tokenizer::open(m_models.path("."));
    QVERIFY(!opened.ok());
    QCOMPARE(opened.error().message, std::string("This is not a regular file."));
}

void TestTokenizerFiles::tooLarge() {
    const auto path = m_models.write("large.model", m_models.read("llama.model"));
    QVERIFY(QFile::resize(m_models.file("large.model"), (64 << 20) + 1));  // sparse
    const auto opened = Tokenizer::open(path);
    QVERIFY(!opened.ok());
    QCOMPARE(opened.error().code, ErrorCode::InvalidFile);
    QVERIFY(opened.error().message.find("67108865 bytes; at most 67108864") != std::string::npos);
    QFile::remove(m_models.file("large.model"));
}

void TestTokenizerFiles::strangeFiles_data() {
    QTest::addColumn<QByteArray>("bytes");
    QTest::addColumn<int>("code");
    QTest::addColumn<QString>("says");
    const auto row = [](const char* name, const QByteArray& bytes, ErrorCode code,
                        const char* says) {
        QTest::newRow(name) << bytes << static_cast<int>(code) << says;
    };
    row("tiktoken", "IQ== 0\nIg== 1\nIw== 2\n", ErrorCode::Unsupported, "tiktoken");
    row("tiktoken, one line with CR", "IQ== 0\r\n", ErrorCode::Unsupported, "tiktoken");
    row("tiktoken, longer piece", "ICAgICAg 257\nIC== 258", ErrorCode::Unsupported, "tiktoken");
    row("web page", "<!DOCTYPE html>\n<html><body>Sign in</body></html>", ErrorCode::InvalidFile,
        "HTML");
    row("web page after blank lines", "\n\n  <HTML lang=en>", ErrorCode::InvalidFile, "HTML");
    row("git lfs pointer",
        "version https://git-lfs.github.com/spec/v1\noid sha256:9e\nsize 499723\n",
        ErrorCode::InvalidFile, "git lfs pull");
    row("tokenizer.json", "{\n  \"version\": \"1.0\",\n", ErrorCode::Unsupported, "JSON");
    row("checkpoint", QByteArray("PK\x03\x04\x00\x00", 6), ErrorCode::InvalidFile, "zip");
    row("gguf", QByteArray("GGUF\x03\0\0\0", 8), ErrorCode::InvalidFile, "GGUF");
    row("plain text", "Not a tokenizer at all.\n", ErrorCode::InvalidFile,
        "not a sentencepiece model");
    row("vocabulary list", "<unk>\t0\n<s>\t0\n", ErrorCode::InvalidFile,
        "not a sentencepiece model");
    row("empty", "", ErrorCode::InvalidFile, "empty");
    row("zeros", QByteArray(1000, '\0'), ErrorCode::InvalidFile, "not a sentencepiece model");
    row("number without end", QByteArray(20, '\xFF'), ErrorCode::InvalidFile,
        "not a sentencepiece model");
    row("length beyond the end", "\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", ErrorCode::InvalidFile,
        "not a sentencepiece model");
    row("pieces without settings",
        QByteArray("\x0A\x03\x0A\x01"
                   "a",
                   5),
        ErrorCode::InvalidFile, "cut short");
    row("settings without pieces", QByteArray("\x12\x00\x1A\x00", 4), ErrorCode::InvalidFile,
        "not a sentencepiece model");
    row("piece of no length", QByteArray("\x0A\x02\x0A\x00\x12\x00\x1A\x00", 8),
        ErrorCode::InvalidFile, "library says");
    row("piece that is no message", QByteArray("\x0A\x02\x0A\x7F\x12\x00\x1A\x00", 8),
        ErrorCode::InvalidFile, "library says");
    RandomGenerator random(std::uint64_t{1});
    QByteArray noise;
    for (int index = 0; index < 5000; ++index)
        noise += static_cast<char>(random.next());
    row("random bytes", noise, ErrorCode::InvalidFile, "not a sentencepiece model");
}

void TestTokenizerFiles::strangeFiles() {
    QFETCH(QByteArray, bytes);
    QFETCH(int, code);
    QFETCH(QString, says);
    const auto path = m_models.write("strange.model", bytes);
    const auto opened = Tokenizer::open(path);
    QVERIFY(!opened.ok());
    const Error& error = opened.error();
    QVERIFY2(QString::fromStdString(error.message).contains(says), error.message.c_str());
    QVERIFY(error.message.ends_with('.'));
    QVERIFY2(error.message.find(".cc") == std::string::npos, error.message.c_str());
    QCOMPARE(static_cast<int>(error.code), code);
    QCOMPARE(error.where, path.string());
}

void TestTokenizerFiles::missingSpecialPieces_data() {
    QTest::addColumn<QString>("model");
    QTest::addColumn<QString>("says");
    QTest::newRow("no bos") << "no-bos"
                            << "has no BOS piece";
    QTest::newRow("no eos") << "no-eos"
                            << "has no EOS piece";
    QTest::newRow("neither") << "neither"
                             << "has neither a BOS nor an EOS piece";
}

void TestTokenizerFiles::missingSpecialPieces() {
    QFETCH(QString, model);
    QFETCH(QString, says);
    const auto opened = Tokenizer::open(m_models.path(model + ".model"));
    QVERIFY(!opened.ok());
    QCOMPARE(opened.error().code, ErrorCode::Unsupported);
    QVERIFY2(QString::fromStdString(opened.error().message).contains(says),
             opened.error().message.c_str());
    QCOMPARE(opened.error().where, m_models.path(model + ".model").string());
}

// Also at the seams between fields, where what is left is a sound message for protocol buffers.
void TestTokenizerFiles::everyCutIsRefused() {
    const QByteArray whole = m_models.read("llama.model");
    QVERIFY(Tokenizer::open(m_models.path("llama.model")).ok());
    const auto path = m_models.write("cut.model", whole);
    for (qsizetype length = whole.size() - 1; length > 0; --length) {
        QVERIFY(QFile::resize(m_models.file("cut.model"), length));
        const auto opened = Tokenizer::open(path);
        QVERIFY2(!opened.ok(), qPrintable(QString::number(length)));
        QVERIFY(opened.error().message.ends_with('.'));
    }
}

void TestTokenizerFiles::damagedFilesNeverCrash_data() {
    QTest::addColumn<QString>("model");
    QTest::addColumn<bool>("inCharacterMap");
    QTest::newRow("bpe") << "llama" << false;
    QTest::newRow("unigram") << "unigram" << false;
    QTest::newRow("character map of the unigram model") << "unigram" << true;
}

void TestTokenizerFiles::damagedFilesNeverCrash() {
    QFETCH(QString, model);
    QFETCH(bool, inCharacterMap);
    const QByteArray whole = m_models.read(model + ".model");
    // The map is most of the file, and follows the name of its rule and three bytes of length.
    const QByteArray rule = "nmt_nfkc\x12";
    const qsizetype first = inCharacterMap ? whole.indexOf(rule) + rule.size() + 3 : 0;
    RandomGenerator random(std::uint64_t{2});
    int refused = 0;
    for (int round = 0; round < 300; ++round) {
        QByteArray bytes = whole;
        for (int damage = 0; damage < 1 + round % (inCharacterMap ? 40 : 4); ++damage) {
            const auto place =
                static_cast<qsizetype>(random.uniform() * double(bytes.size() - first));
            bytes[first + place] = static_cast<char>(random.next());
        }
        const auto opened = Tokenizer::open(m_models.write("damaged.model", bytes));
        if (!opened.ok()) {
            QVERIFY(opened.error().message.ends_with('.'));
            ++refused;
            continue;
        }
        const auto ids = opened.value()->encode("Some text, ｆｕｌｌ ﬁ Ⅷ and é 日本 \xFF!");
        for (const TokenId id : ids)
            QVERIFY(id >= 0 && id < opened.value()->vocabularySize());
    }
    QVERIFY(refused > 0);
}

QTEST_GUILESS_MAIN(TestTokenizerFiles)
#include "test_tokenizer_files.moc"
