// Encoding and decoding against the python binding of sentencepiece, on models trained here.
#include <QtTest>
#include <span>
#include <stop_token>
#include <thread>

#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/utf8_stream.h"
#include "trained_models.h"

using namespace qllama;

namespace {

QList<QByteArray> texts() {
    return {
        "",
        " ",
        "   ",
        "The old lighthouse keeper came home.",
        " one leading space",
        "    four leading spaces",
        "two  inside,   three  inside",
        "trailing  ",
        "\n",
        "a\nb\n\n\nc\r\nd\te\n",
        " \n \n",
        "1234567890 3.14159",
        "Zwölf Größen, naïve façade, Ærøskøbing",
        "Старый маяк и Ёжик",
        "灯台は海のそばに。 漢字と仮名",
        "مرحبا بالعالم",
        "नमस्ते दुनिया",
        "😀 👩‍👩‍👧 🇩🇪 ❤️",
        "e\xCC\x81 combining",
        "\xE2\x96\x81 the space symbol \xE2\x96\x81\xE2\x96\x81",
        "<s> </s> <unk> <0x41> <story>",
        "end with a story <story>",
        "\xEF\xBF\xBD replacement",
        QByteArray("zero \0 byte", 11),
        "\xFF\xFE broken \xC3( \xE2\x82 \xF0\x9F\x98",
        "\xC2\xA0non-breaking\xE2\x80\x83spaces\xE3\x80\x80",
        QByteArray("It rained for three days; ").repeated(200),
        QByteArray("x").repeated(3000),
    };
}

struct Expected {
    std::vector<TokenId> ids;
    QByteArray decoded;
};

}  // namespace

class TestTokenizer : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void encodesAsSentencepiece_data() { modelRows(); }
    void encodesAsSentencepiece();
    void decodesAsSentencepiece_data() { modelRows(); }
    void decodesAsSentencepiece();
    void streamsOnlyWholeCharacters();
    void everyByteComesBack();
    void charactersWithoutAPieceComeBack();
    void controlPiecesAreSilent();
    void idsOutsideAreSilent();
    void knowsItsSpecialPieces();
    void knowsWhetherItAddsASpace();
    void knowsTheFewestTokens();
    void outlivesItsFile();
    void longTextsAreAsShortOnes_data();
    void longTextsAreAsShortOnes();
    void encodesFromManyThreads();

private:
    static void modelRows();
    std::shared_ptr<const Tokenizer> open(const QString& name);
    QList<Expected> expectedOf(const QString& name);
    static std::string bytesOf(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens);

    test::TrainedModels m_models;
};

void TestTokenizer::initTestCase() {
    QByteArray lines;
    for (const QByteArray& text : texts())
        lines += text.toBase64() + '\n';
    QVERIFY(!m_models.write("texts", lines).empty());
    const QString problem = m_models.train();
    QVERIFY2(problem.isEmpty(), qPrintable(problem));
}

void TestTokenizer::modelRows() {
    QTest::addColumn<QString>("model");
    for (const char* name : {"llama", "no-prefix", "unigram", "no-fallback", "other-ids"})
        QTest::newRow(name) << name;
}

std::shared_ptr<const Tokenizer> TestTokenizer::open(const QString& name) {
    auto tokenizer = Tokenizer::open(m_models.path(name + ".model"));
    if (!tokenizer) qFatal("%s", tokenizer.error().text().c_str());
    return tokenizer.value();
}

QList<Expected> TestTokenizer::expectedOf(const QString& name) {
    QList<Expected> expected;
    QList<QByteArray> lines = m_models.read(name + ".ids").split('\n');
    lines.removeLast();  // what follows the last line end
    for (const QByteArray& line : lines) {
        Expected one;
        const QList<QByteArray> halves = line.split('\t');
        for (const QByteArray& id : halves[0].split(' '))
            if (!id.isEmpty()) one.ids.push_back(id.toInt());
        one.decoded = QByteArray::fromBase64(halves[1]);
        expected.append(one);
    }
    return expected;
}

std::string TestTokenizer::bytesOf(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens) {
    std::string bytes;
    for (const TokenId token : tokens)
        bytes += tokenizer.pieceBytes(token);
    return bytes;
}

void TestTokenizer::encodesAsSentencepiece() {
    QFETCH(QString, model);
    const auto tokenizer = open(model);
    const QList<Expected> expected = expectedOf(model);
    QCOMPARE(expected.size(), texts().size());
    for (qsizetype index = 0; index < expected.size(); ++index) {
        std::vector<TokenId> ids = expected[index].ids;
        ids.insert(ids.begin(), tokenizer->bos());
        const QByteArray text = texts()[index];
        QVERIFY2(tokenizer->encode({text.data(), std::size_t(text.size())}) == ids,
                 text.left(40).constData());
    }
    QCOMPARE(tokenizer->encode(""), std::vector<TokenId>{tokenizer->bos()});
}

void TestTokenizer::decodesAsSentencepiece() {
    QFETCH(QString, model);
    const auto tokenizer = open(model);
    const TokenId unknown = model == "other-ids" ? 3 : 0;
    for (const Expected& expected : expectedOf(model)) {
        // For an unknown piece the library writes a question mark; a running text gets nothing.
        if (std::count(expected.ids.begin(), expected.ids.end(), unknown) != 0) continue;
        std::string bytes = bytesOf(*tokenizer, expected.ids);
        if (tokenizer->addsDummyPrefix() && bytes.starts_with(' ')) bytes.erase(0, 1);
        QCOMPARE(QByteArray::fromStdString(bytes), expected.decoded);
    }
}

void TestTokenizer::streamsOnlyWholeCharacters() {
    const auto tokenizer = open("llama");
    for (const QByteArray& text : texts()) {
        if (toValidUtf8(text.toStdString()) != text.toStdString()) continue;
        Utf8Stream stream;
        std::string streamed;
        for (const TokenId token : tokenizer->encode(text.toStdString())) {
            const std::string piece = stream.push(tokenizer->pieceBytes(token));
            QCOMPARE(toValidUtf8(piece), piece);
            streamed += piece;
        }
        QCOMPARE(stream.flush(), std::string());
        QByteArray expected = text;
        expected.replace("\xE2\x96\x81", " ");  // sentencepiece cannot tell these two apart
        const std::string prefix = text.isEmpty() ? "" : " ";
        QCOMPARE(QByteArray::fromStdString(streamed), prefix.c_str() + expected);
    }
}

void TestTokenizer::everyByteComesBack() {
    const auto tokenizer = open("llama");
    constexpr TokenId kFirstByte = 3;  // after <unk>, <s>, </s>
    Utf8Stream stream;
    std::string bytes;
    std::string streamed;
    for (int round = 0; round < 2; ++round)
        for (int byte = 0; byte < 256; ++byte) {
            const int value = round == 0 ? byte : 255 - byte;
            const std::string_view piece = tokenizer->pieceBytes(kFirstByte + value);
            QCOMPARE(piece, std::string_view(std::string(1, static_cast<char>(value))));
            bytes += static_cast<char>(value);
            streamed += stream.push(piece);
        }
    streamed += stream.flush();
    QCOMPARE(QByteArray::fromStdString(streamed), QByteArray::fromStdString(bytes));
}

void TestTokenizer::charactersWithoutAPieceComeBack() {
    const auto tokenizer = open("llama");
    const std::string text = "\xF0\x9F\xA6\x99";  // a llama, not in the training text
    const std::vector<TokenId> ids = tokenizer->encode(text);
    QCOMPARE(ids.size(), std::size_t{6});  // BOS, the space, four bytes
    Utf8Stream stream;
    QCOMPARE(stream.push(tokenizer->pieceBytes(ids[1])), std::string(" "));
    for (std::size_t index = 2; index < 5; ++index)
        QCOMPARE(stream.push(tokenizer->pieceBytes(ids[index])), std::string());
    QCOMPARE(stream.push(tokenizer->pieceBytes(ids[5])), text);
}

void TestTokenizer::controlPiecesAreSilent() {
    for (const char* name : {"llama", "other-ids"}) {
        const auto tokenizer = open(name);
        QCOMPARE(tokenizer->pieceBytes(tokenizer->bos()), std::string_view());
        QCOMPARE(tokenizer->pieceBytes(tokenizer->eos()), std::string_view());
        QCOMPARE(tokenizer->pieceBytes(0), std::string_view());  // <unk> and <pad>
    }
}

void TestTokenizer::idsOutsideAreSilent() {
    const auto tokenizer = open("llama");
    for (const std::int64_t id : {std::int64_t{-1}, std::int64_t{INT32_MIN},
                                  tokenizer->vocabularySize(), std::int64_t{INT32_MAX}})
        QCOMPARE(tokenizer->pieceBytes(static_cast<TokenId>(id)), std::string_view());
    QVERIFY(!tokenizer->pieceBytes(static_cast<TokenId>(tokenizer->vocabularySize() - 1)).empty());
}

void TestTokenizer::knowsItsSpecialPieces() {
    QCOMPARE(open("llama")->bos(), 1);
    QCOMPARE(open("llama")->eos(), 2);
    QCOMPARE(open("llama")->vocabularySize(), 500);
    QCOMPARE(open("other-ids")->bos(), 2);
    QCOMPARE(open("other-ids")->eos(), 1);
    QCOMPARE(open("llama")->path(), m_models.path("llama.model"));
}

void TestTokenizer::knowsWhetherItAddsASpace() {
    QVERIFY(open("llama")->addsDummyPrefix());
    QVERIFY(open("unigram")->addsDummyPrefix());
    QVERIFY(!open("no-prefix")->addsDummyPrefix());
}

// Also of the texts that come out shortest: the longest piece over and over, spaces of either kind, and
// what a tokenizer without bytes for them makes one unknown piece of.
void TestTokenizer::knowsTheFewestTokens() {
    for (const char* name : {"llama", "unigram"}) {
        const auto tokenizer = open(name);
        QVERIFY(tokenizer != nullptr);
        std::vector<std::string> parts = {"\xE2\x96\x81", "\xFF", "\xE6\x97\xA5", "a\r\n",
                                          "\xEF\xBD\x86"};
        parts.emplace_back(1, ' ');
        parts.emplace_back(1, '\0');
        for (TokenId token = 0; token < tokenizer->vocabularySize(); ++token)
            parts.emplace_back(tokenizer->pieceBytes(token));
        for (const std::string& part : parts) {
            std::string text;
            for (int count = 0; count < 40; ++count)
                text += part;
            const auto tokens = static_cast<std::int64_t>(tokenizer->encode(text).size());
            QVERIFY2(tokenizer->fewestTokens(text.size()) <= tokens, part.c_str());
        }
    }
    QCOMPARE(open("unigram")->fewestTokens(1'000'000), 1);  // its character map may shorten a text
    const auto llama = open("llama");
    QCOMPARE(llama->fewestTokens(0), 1);
    QCOMPARE(llama->fewestTokens(1), 2);
    QVERIFY(llama->fewestTokens(1'000'000) > 10'000);
}

void TestTokenizer::outlivesItsFile() {
    const auto copy = m_models.write("copy.model", m_models.read("llama.model"));
    const auto opened = Tokenizer::open(copy);
    QVERIFY(opened.ok());
    QVERIFY(QFile::resize(m_models.file("copy.model"), 0));
    QVERIFY(QFile::remove(m_models.file("copy.model")));
    QCOMPARE(opened.value()->encode("The old lamp"), open("llama")->encode("The old lamp"));
    QVERIFY(bytesOf(*opened.value(), opened.value()->encode("lamp")) == " lamp");
}

void TestTokenizer::longTextsAreAsShortOnes_data() {
    QTest::addColumn<QString>("model");
    for (const char* model : {"llama", "no-prefix", "unigram", "other-ids"})
        QTest::newRow(model) << model;
}

// Several hundred kilobytes, which may be encoded in parts, of a paragraph that is encoded whole.
void TestTokenizer::longTextsAreAsShortOnes() {
    QFETCH(QString, model);
    const auto tokenizer = open(model);
    QVERIFY(tokenizer != nullptr);
    const std::string paragraph =
        "\nThe old lamp \n\n  was lit.\r\n\n\n \xE7\x81\xAF\xE5\x8F\xB0\n\xFF\n\xE7\x81\n\t" +
        std::string(1, '\0') + "\nTom and the children ran down to greet it \n";
    const std::vector<TokenId> once = tokenizer->encode("The end." + paragraph);
    const std::vector<TokenId> twice = tokenizer->encode("The end." + paragraph + paragraph);
    const std::span<const TokenId> second = std::span(twice).subspan(once.size());
    std::string text = "The end.";
    std::vector<TokenId> expected = once;
    for (int count = 0; count < 4000; ++count) {
        text += paragraph;
        if (count > 0) expected.insert(expected.end(), second.begin(), second.end());
    }
    QVERIFY(text.size() > 300'000);
    QVERIFY(tokenizer->encode(text) == expected);
    if (model != "llama") return;
    std::stop_source stop;
    stop.request_stop();
    QVERIFY(tokenizer->encode(text, stop.get_token()).size() < expected.size() / 3);
}

void TestTokenizer::encodesFromManyThreads() {
    const auto tokenizer = open("llama");
    const std::string text = "The children ran down to greet the Schiff. 灯台";
    const std::vector<TokenId> expected = tokenizer->encode(text);
    std::array<bool, 4> same{};
    {
        std::vector<std::jthread> threads;
        for (bool& mine : same)
            threads.emplace_back([&] {
                mine = true;
                for (int round = 0; round < 50; ++round)
                    mine = mine && tokenizer->encode(text) == expected;
            });
    }
    for (const bool one : same)
        QVERIFY(one);
}

QTEST_GUILESS_MAIN(TestTokenizer)
#include "test_tokenizer.moc"
