// What we write as JSON is JSON, says a parser that is not ours.
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QTest>
#include <cmath>
#include <limits>

#include "gui/terminal/json_object.h"

using namespace qllama;

namespace {

QJsonObject readBack(const JsonObject& object) {
    QJsonParseError error;
    const QByteArray text = QByteArray::fromStdString(object.text());
    const QJsonDocument document = QJsonDocument::fromJson(text, &error);
    if (error.error != QJsonParseError::NoError) qWarning("%s", text.constData());
    return document.object();
}

}  // namespace

class TestJsonObject : public QObject {
    Q_OBJECT

private slots:
    void anyTextSurvives_data();
    void anyTextSurvives();
    void numbersStayNumbers();
    void listsAndNesting();
    void membersKeepTheirOrderOnOneLine();
};

void TestJsonObject::anyTextSurvives_data() {
    QTest::addColumn<QByteArray>("bytes");
    QTest::addColumn<QString>("text");
    QByteArray ascii;
    for (int value = 0; value < 128; ++value)
        ascii += static_cast<char>(value);
    QTest::newRow("every ASCII character") << ascii << QString::fromLatin1(ascii);
    QTest::newRow("empty") << QByteArray("") << QString();
    QTest::newRow("beyond the BMP")
        << QByteArray("\xF0\x9F\xA6\x99") << QString::fromUcs4(U"\U0001F999");
    QTest::newRow("not UTF-8") << QByteArray("a\xFFz") << QString::fromUtf16(u"a\uFFFDz");
    QTest::newRow("half a character") << QByteArray("a\xE2\x82") << QString::fromUtf16(u"a\uFFFD");
}

void TestJsonObject::anyTextSurvives() {
    QFETCH(QByteArray, bytes);
    QFETCH(QString, text);
    QCOMPARE(readBack(JsonObject().add("key", bytes.toStdString()))["key"].toString(), text);
    QVERIFY(readBack(JsonObject().add(bytes.toStdString(), 1)).contains(text));
}

void TestJsonObject::numbersStayNumbers() {
    const JsonObject object = JsonObject()
                                  .add("whole", std::int64_t{-9007199254740991})
                                  .add("third", 1.0 / 3)
                                  .add("tenth", 0.1F)
                                  .add("tiny", 1e-30)
                                  .add("yes", true)
                                  .add("nan", std::nan(""))
                                  .add("infinite", std::numeric_limits<double>::infinity());
    const QJsonObject back = readBack(object);
    QCOMPARE(back["whole"].toInteger(), qint64{-9007199254740991});
    QCOMPARE(back["third"].toDouble(), 1.0 / 3);
    QCOMPARE(static_cast<float>(back["tenth"].toDouble()), 0.1F);
    QCOMPARE(back["tiny"].toDouble(), 1e-30);
    QVERIFY(back["yes"].isBool() && back["yes"].toBool());
    QVERIFY(back["nan"].isNull() && back["infinite"].isNull());
    // Not through a double, which has 53 bits.
    QCOMPARE(JsonObject().add("seed", ~std::uint64_t{0}).text(),
             std::string(R"({"seed":18446744073709551615})"));
}

void TestJsonObject::listsAndNesting() {
    const std::vector<JsonObject> objects = {JsonObject().add("a", 1), JsonObject()};
    const QJsonObject back = readBack(JsonObject()
                                          .add("numbers", std::vector<int>{1, 2, 3})
                                          .add("texts", std::vector<std::string>{"x", "\""})
                                          .add("objects", objects)
                                          .add("none", std::vector<int>())
                                          .addNull("null"));
    QCOMPARE(back["numbers"].toArray(), (QJsonArray{1, 2, 3}));
    QCOMPARE(back["texts"].toArray(), (QJsonArray{"x", "\""}));
    QCOMPARE(back["objects"].toArray().at(0).toObject()["a"].toInt(), 1);
    QVERIFY(back["none"].isArray() && back["none"].toArray().isEmpty());
    QVERIFY(back["null"].isNull());
}

void TestJsonObject::membersKeepTheirOrderOnOneLine() {
    const std::string text = JsonObject().add("z", "1\n2").add("a", 2).text();
    QCOMPARE(text, std::string(R"({"z":"1\n2","a":2})"));
}

QTEST_APPLESS_MAIN(TestJsonObject)
#include "test_json_object.moc"
