// Whole characters out of pieces of bytes, and the replacement of what is not UTF-8.
#include <QtTest>
#include <set>

#include "engine/sampling/random_generator.h"
#include "engine/tokenizer/utf8_stream.h"

using namespace qllama;

namespace {

std::string encoded(char32_t code) {
    return QString::fromUcs4(&code, 1).toStdString();
}

// Whether more bytes could turn `bytes` into one valid character: asked of all characters there
// are, not of a table of lead bytes as the engine does.
bool isBeginningOfCharacter(const std::string& bytes) {
    static const std::set<std::string> kBeginnings = [] {
        std::set<std::string> beginnings;
        for (char32_t code = 0x80; code <= 0x10FFFF; ++code) {
            if (code >= 0xD800 && code <= 0xDFFF) continue;
            // Three bytes of a four-byte character do not depend on the last six bits.
            if (code >= 0x10000 && (code & 0x3FU) != 0) continue;
            const std::string whole = encoded(code);
            for (std::size_t length = 1; length < whole.size(); ++length)
                beginnings.insert(whole.substr(0, length));
        }
        return beginnings;
    }();
    return kBeginnings.count(bytes) != 0;
}

}  // namespace

class TestUtf8Stream : public QObject {
    Q_OBJECT

private slots:
    void everyCharacterComesWhole();
    void hopelessBytesPassAtOnce_data();
    void hopelessBytesPassAtOnce();
    void holdsExactlyWhatCanBecomeValid();
    void anySplittingGivesTheInput();
    void flushGivesTheRestAndForgetsIt();
    void replacesMaximalSubparts_data();
    void replacesMaximalSubparts();
    void validTextIsLeftAlone();
    void replacedTextIsValid();
};

void TestUtf8Stream::everyCharacterComesWhole() {
    for (char32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 ? 1 : 37) {
        if (code >= 0xD800 && code <= 0xDFFF) continue;
        const std::string bytes = encoded(code);
        Utf8Stream stream;
        for (std::size_t index = 0; index + 1 < bytes.size(); ++index)
            QVERIFY(stream.push(bytes.substr(index, 1)).empty());
        QVERIFY(stream.push(bytes.substr(bytes.size() - 1)) == bytes);
        QVERIFY(stream.flush().empty());
    }
}

void TestUtf8Stream::hopelessBytesPassAtOnce_data() {
    QTest::addColumn<QByteArray>("bytes");
    QTest::newRow("lone continuation byte") << QByteArray("\x80");
    QTest::newRow("overlong slash") << QByteArray("\xC0\xAF");
    QTest::newRow("overlong lead C1") << QByteArray("\xC1");
    QTest::newRow("overlong in three bytes") << QByteArray("\xE0\x9F");
    QTest::newRow("surrogate") << QByteArray("\xED\xA0");
    QTest::newRow("overlong in four bytes") << QByteArray("\xF0\x8F");
    QTest::newRow("above U+10FFFF") << QByteArray("\xF4\x90");
    QTest::newRow("lead F5") << QByteArray("\xF5");
    QTest::newRow("byte FF") << QByteArray("\xFF");
    QTest::newRow("character broken off by a letter") << QByteArray(
        "\xE2\x82"
        "a");
}

void TestUtf8Stream::hopelessBytesPassAtOnce() {
    QFETCH(QByteArray, bytes);
    Utf8Stream stream;
    std::string given;
    for (const char byte : bytes)
        given += stream.push(std::string_view(&byte, 1));
    QCOMPARE(QByteArray::fromStdString(given), bytes);
}

// All strings of up to three bytes out of those at which the rules change.
void TestUtf8Stream::holdsExactlyWhatCanBecomeValid() {
    const std::string bytes =
        "\x41\x7F\x80\x8F\x90\x9F\xA0\xBF\xC0\xC1\xC2\xDF\xE0\xE1\xEC\xED\xEE\xEF\xF0\xF1\xF3\xF4"
        "\xF5\xFF";
    std::vector<std::string> strings = {""};
    for (std::size_t first = 0, length = 0; length < 3; ++length) {
        const std::size_t last = strings.size();
        for (; first < last; ++first)
            for (const char byte : bytes)
                strings.push_back(strings[first] + byte);
    }
    for (const std::string& string : strings) {
        std::size_t held = 0;
        for (std::size_t length = 1; length <= string.size(); ++length)
            if (isBeginningOfCharacter(string.substr(string.size() - length))) held = length;
        Utf8Stream stream;
        const std::string given = stream.push(string);
        QVERIFY2(given == string.substr(0, string.size() - held),
                 QByteArray::fromStdString(string).toHex(' ').constData());
        QVERIFY(stream.flush() == string.substr(string.size() - held));
    }
}

void TestUtf8Stream::anySplittingGivesTheInput() {
    RandomGenerator random(std::uint64_t{3});
    for (int round = 0; round < 300; ++round) {
        std::string input;
        while (input.size() < 60)
            input += random.uniform() < 0.5
                         ? std::string(1, static_cast<char>(random.next()))
                         : encoded(static_cast<char32_t>(random.uniform() * 0xD000));
        Utf8Stream stream;
        std::string output;
        for (std::size_t position = 0; position < input.size();) {
            const auto length = static_cast<std::size_t>(random.uniform() * 5);
            output += stream.push(std::string_view(input).substr(position, length));
            position += length;
            QVERIFY(output.size() + 3 >= std::min(position, input.size()));
        }
        QVERIFY(output + stream.flush() == input);
    }
}

void TestUtf8Stream::flushGivesTheRestAndForgetsIt() {
    Utf8Stream stream;
    QCOMPARE(stream.push("a\xF0\x9F\x98"), std::string("a"));
    QCOMPARE(stream.flush(), std::string("\xF0\x9F\x98"));
    QCOMPARE(stream.flush(), std::string());
    QCOMPARE(stream.push("\x80"), std::string("\x80"));
}

void TestUtf8Stream::replacesMaximalSubparts_data() {
    QTest::addColumn<QByteArray>("bytes");
    QTest::addColumn<QString>("expected");
    // The Unicode Standard, chapter 3, tables 3-8 to 3-11.
    QTest::newRow("non-shortest forms")
        << QByteArray("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41") << "????????A";
    QTest::newRow("surrogates") << QByteArray("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41")
                                << "????????A";
    QTest::newRow("other ill-formed")
        << QByteArray("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42") << "?????A??B";
    QTest::newRow("truncated") << QByteArray("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") << "????A";
    QTest::newRow("cut at the end") << QByteArray("ab\xF0\x9F\x98") << "ab?";
    QTest::newRow("cut after one byte") << QByteArray("ab\xF0") << "ab?";
    QTest::newRow("too large lead") << QByteArray("\xF8\x88\x80\x80\x80") << "?????";
}

void TestUtf8Stream::replacesMaximalSubparts() {
    QFETCH(QByteArray, bytes);
    QFETCH(QString, expected);
    QCOMPARE(QString::fromStdString(toValidUtf8(bytes.toStdString())),
             expected.replace('?', QChar(0xFFFD)));
}

void TestUtf8Stream::validTextIsLeftAlone() {
    using namespace std::string_literals;
    for (const std::string& text :
         {""s, "plain"s, "zero \0 inside"s, "\xC2\x80\xE0\xA0\x80\xEF\xBF\xBF\xF4\x8F\xBF\xBF"s,
          "Grüße, 日本語, 👩‍👩‍👧, \xEF\xBF\xBD"s})
        QVERIFY(toValidUtf8(text) == text);
}

void TestUtf8Stream::replacedTextIsValid() {
    RandomGenerator random(std::uint64_t{4});
    for (int round = 0; round < 3000; ++round) {
        std::string bytes;
        for (int index = 0; index < 8; ++index)
            bytes += static_cast<char>(random.uniform() < 0.7 ? 0x80 | random.next() : 'a');
        const std::string valid = toValidUtf8(bytes);
        QStringDecoder strict(QStringDecoder::Utf8, QStringDecoder::Flag::Stateless);
        const QString decoded = strict(QByteArrayView(valid.data(), qsizetype(valid.size())));
        QVERIFY(!strict.hasError());
        QVERIFY(decoded.toStdString() == valid);
        QCOMPARE(toValidUtf8(valid), valid);
    }
}

QTEST_GUILESS_MAIN(TestUtf8Stream)
#include "test_utf8_stream.moc"
