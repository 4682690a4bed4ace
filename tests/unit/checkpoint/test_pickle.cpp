// The pickle machine opcode by opcode. Values are shown as Python would, so that each row reads as
// "these bytes mean that".
#include <QtTest>
#include <string>

#include "engine/checkpoint/pickle.h"

using namespace qllama;

namespace {

bool allowOne(std::string_view module, std::string_view name) {
    return module == "good" && name == "make";
}

std::span<const std::byte> bytesOf(const QByteArray& bytes) {
    return std::as_bytes(std::span(bytes.constData(), static_cast<std::size_t>(bytes.size())));
}

std::string shown(const PickleDocument& document, PickleId id);

std::string listed(const PickleDocument& document, const PickleNode& node, std::size_t first = 0) {
    std::string text;
    for (std::size_t index = first; index < node.items.size(); ++index)
        text += (index == first ? "" : ", ") + shown(document, node.items[index]);
    return text;
}

std::string shown(const PickleDocument& document, PickleId id) {
    const PickleNode& node = document.at(id);
    const std::string text(node.text);
    switch (node.kind) {
        case PickleKind::None:
            return "None";
        case PickleKind::Bool:
            return node.integer != 0 ? "True" : "False";
        case PickleKind::Int:
            return std::to_string(node.integer);
        case PickleKind::BigInt:
            return "long of " + std::to_string(text.size()) + " bytes";
        case PickleKind::Float:
            return QByteArray::number(node.real).toStdString();
        case PickleKind::Text:
            return "'" + text + "'";
        case PickleKind::Bytes:
            return "b'" + text + "'";
        case PickleKind::Tuple:
            return "(" + listed(document, node) + ")";
        case PickleKind::List:
            return "[" + listed(document, node) + "]";
        case PickleKind::Dict:
            return "{" + listed(document, node) + "}";
        case PickleKind::Set:
            return (node.isFrozen ? "frozenset{" : "set{") + listed(document, node) + "}";
        case PickleKind::Global:
            return text + "." + std::string(node.name);
        case PickleKind::Call:
            return shown(document, node.items[0]) + shown(document, node.items[1]) + "<" +
                   listed(document, node, 2) + ">" +
                   (node.state == kNoPickle ? "" : " with " + shown(document, node.state));
        case PickleKind::Persistent:
            return "persistent" + listed(document, node);
    }
    return "?";
}

void addValueRows() {
    const auto row = [](const char* name, QByteArray body, const char* value) {
        QTest::newRow(name) << QByteArray::fromRawData("\x80\x02", 2) + body + "." << value;
    };
    const auto hex = [](const char* digits) { return QByteArray::fromHex(digits); };
    row("none", "N", "None");
    row("booleans", hex("888986"), "(True, False)");
    row("one byte", hex("4bff"), "255");
    row("two bytes", hex("4dffff"), "65535");
    row("four bytes, signed", hex("4afeffffff"), "-2");
    row("long without bytes", hex("8a00"), "0");
    row("long of one byte, negative", hex("8a01ff"), "-1");
    row("long of five bytes", hex("8a050000000001"), "4294967296");
    row("long of eight bytes", hex("8a08ffffffffffffff7f"), "9223372036854775807");
    row("long beyond 64 bits", hex("8a09000000000000000001"), "long of 9 bytes");
    row("long with a wide length", hex("8b02000000ff00"), "255");
    row("float", hex("47c004000000000000"), "-2.5");
    row("unicode", hex("5802000000c3a9"), "'\xC3\xA9'");
    row("short unicode", hex("8c026162"), "'ab'");
    row("long unicode", hex("8d02000000000000006162"), "'ab'");
    row("python 2 text", hex("55026162"), "'ab'");
    row("python 2 long text", hex("54020000006162"), "'ab'");
    row("bytes", hex("42020000006162"), "b'ab'");
    row("short bytes", hex("43026162"), "b'ab'");
    row("long bytes", hex("8e02000000000000006162"), "b'ab'");
    row("bytearray", hex("9602000000000000006162"), "b'ab'");
    row("empty containers", hex("5d7d8f87"), "([], {}, set{})");
    row("empty tuple", ")", "()");
    row("tuple of one", hex("4e85"), "(None)");
    row("tuple of three", hex("4b014b024b0387"), "(1, 2, 3)");
    row("tuple from a mark", hex("284b014b024b034b0474"), "(1, 2, 3, 4)");
    row("list from a mark", hex("284b014b026c"), "[1, 2]");
    row("dictionary from a mark", hex("284b014b0264"), "{1, 2}");
    row("frozen set", hex("284b014b0291"), "frozenset{1, 2}");
    row("append", hex("5d4b0161"), "[1]");
    row("appends", hex("5d284b014b0265"), "[1, 2]");
    row("set an item", hex("7d4b014b0273"), "{1, 2}");
    row("set items", hex("7d284b014b024b034b0475"), "{1, 2, 3, 4}");
    row("add items to a set", hex("8f284b014b0290"), "set{1, 2}");
    row("pop", hex("4b014b0230"), "1");
    row("pop to the mark", hex("4b01284b024b0331"), "1");
    row("duplicate", hex("4b013286"), "(1, 1)");
    row("remembered by number", hex("4b017107304b02680786"), "(2, 1)");
    row("remembered by wide number", hex("4b017200010000304b026a0001000086"), "(2, 1)");
    row("remembered in turn", hex("4b0194304b0294680086"), "(2, 1)");
    row("frame", hex("9500000000000000004e"), "None");
    row("function", "cgood\nmake\n", "good.make");
    row("function from the stack", hex("8c04676f6f648c046d616b6593"), "good.make");
    row("call", "cgood\nmake\nK\x01\x85R", "good.make(1)<>");
    row("new object", QByteArray("cgood\nmake\n)\x81"), "good.make()<>");
    row("new object with keywords", QByteArray("cgood\nmake\n)}\x92"), "good.make()<>");
    row("items of a call", "cgood\nmake\n)R(K\x01K\x02u", "good.make()<1, 2>");
    row("state of a call", "cgood\nmake\n)R}b", "good.make()<> with {}");
    row("persistent", "K\x05Q", "persistent5");
}

}  // namespace

class TestPickle : public QObject {
    Q_OBJECT

private slots:
    void values_data() { rows(); }
    void values();
    void everyTruncationIsAnError_data() { rows(); }
    void everyTruncationIsAnError();
    void stopsWhereThePickleEnds();
    void namesTheFunctionThatItRefuses();
    void errorsSayWhere();

private:
    static void rows() {
        QTest::addColumn<QByteArray>("bytes");
        QTest::addColumn<QString>("value");
        addValueRows();
    }
};

void TestPickle::values() {
    QFETCH(QByteArray, bytes);
    QFETCH(QString, value);
    const auto document = parsePickle(bytesOf(bytes), allowOne, "test");
    QVERIFY2(document.ok(), document.ok() ? "" : document.error().text().c_str());
    QCOMPARE(QString::fromStdString(shown(document.value(), document.value().root)), value);
}

void TestPickle::everyTruncationIsAnError() {
    QFETCH(QByteArray, bytes);
    for (qsizetype length = 0; length < bytes.size(); ++length) {
        // A copy of its own, so that a sanitizer sees a read past the end.
        const QByteArray cut(bytes.constData(), length);
        const auto document = parsePickle(bytesOf(cut), allowOne, "test");
        QVERIFY(!document.ok());
        QVERIFY(!document.error().message.empty());
    }
}

void TestPickle::stopsWhereThePickleEnds() {
    const QByteArray bytes("\x80\x02N.and more", 12);
    const auto document = parsePickle(bytesOf(bytes), allowOne, "test");
    QVERIFY(document.ok());
    QCOMPARE(document.value().sizeBytes, std::size_t{4});
}

void TestPickle::namesTheFunctionThatItRefuses() {
    const QByteArray bytes("\x80\x02Ncos\nsystem\n.", 15);
    const auto document = parsePickle(bytesOf(bytes), allowOne, "file");
    QVERIFY(!document.ok());
    const QString message = QString::fromStdString(document.error().message);
    QVERIFY2(message.contains("\"os.system\""), qPrintable(message));
    QVERIFY2(message.contains("nothing was executed"), qPrintable(message));
    QCOMPARE(document.error().where, std::string("file, byte 3"));
}

void TestPickle::errorsSayWhere() {
    const QByteArray bytes("\x80\x02NN\xFF", 5);
    const auto document = parsePickle(bytesOf(bytes), allowOne, "file", 100);
    QVERIFY(!document.ok());
    QCOMPARE(document.error().where, std::string("file, byte 104"));
}

QTEST_GUILESS_MAIN(TestPickle)
#include "test_pickle.moc"
