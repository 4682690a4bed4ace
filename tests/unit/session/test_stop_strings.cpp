// Stop strings in a text that arrives in pieces of any size.
#include <QtTest>

#include "engine/session/stop_strings.h"

using namespace qllama;

class TestStopStrings : public QObject {
    Q_OBJECT

private slots:
    void cutsAtTheFirstStopString_data();
    void cutsAtTheFirstStopString();
    void showsTextAsSoonAsNoStopStringCanBegin();
    void withoutStopStringsEverythingPasses();
};

void TestStopStrings::cutsAtTheFirstStopString_data() {
    QTest::addColumn<QByteArray>("text");
    QTest::addColumn<QByteArrayList>("stops");
    QTest::addColumn<QByteArray>("shown");
    QTest::addColumn<bool>("found");
    QTest::newRow("in the middle")
        << QByteArray("one two three") << QByteArrayList{"two"} << QByteArray("one ") << true;
    QTest::newRow("at the start") << QByteArray("two three") << QByteArrayList{"two"}
                                  << QByteArray("") << true;
    QTest::newRow("at the end") << QByteArray("one two") << QByteArrayList{"two"}
                                << QByteArray("one ") << true;
    QTest::newRow("only its beginning")
        << QByteArray("one tw") << QByteArrayList{"two"} << QByteArray("one tw") << false;
    QTest::newRow("a false start before it")
        << QByteArray("aaab") << QByteArrayList{"aab"} << QByteArray("a") << true;
    QTest::newRow("the earlier of two")
        << QByteArray("abcdef") << QByteArrayList{"de", "bc"} << QByteArray("a") << true;
    QTest::newRow("empty ones are ignored")
        << QByteArray("abc") << QByteArrayList{"", "c"} << QByteArray("ab") << true;
    QTest::newRow("none") << QByteArray("abc") << QByteArrayList{} << QByteArray("abc") << false;
}

void TestStopStrings::cutsAtTheFirstStopString() {
    QFETCH(QByteArray, text);
    QFETCH(QByteArrayList, stops);
    QFETCH(QByteArray, shown);
    QFETCH(bool, found);
    std::vector<std::string> stopStrings;
    for (const QByteArray& stop : stops)
        stopStrings.push_back(stop.toStdString());
    for (qsizetype size = 1; size <= text.size(); ++size) {
        StopStringFilter filter(stopStrings);
        std::string result;
        for (qsizetype start = 0; start < text.size(); start += size)
            result += filter.push(text.mid(start, size).toStdString());
        result += filter.flush();
        QCOMPARE(QByteArray::fromStdString(result), shown);
        QCOMPARE(filter.found(), found);
    }
}

void TestStopStrings::showsTextAsSoonAsNoStopStringCanBegin() {
    StopStringFilter filter({"###"});
    QCOMPARE(filter.push("a#"), std::string("a"));
    QCOMPARE(filter.push("#"), std::string());
    QCOMPARE(filter.push("b"), std::string("##b"));
}

void TestStopStrings::withoutStopStringsEverythingPasses() {
    StopStringFilter filter({});
    QCOMPARE(filter.push("abc"), std::string("abc"));
    QCOMPARE(filter.flush(), std::string());
}

QTEST_GUILESS_MAIN(TestStopStrings)
#include "test_stop_strings.moc"
