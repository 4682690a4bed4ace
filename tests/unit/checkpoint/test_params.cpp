// params.json: what Meta's files say is read, nonsense is refused in a sentence that names the key.
#include <QFile>
#include <QTemporaryDir>
#include <QtTest>
#include <random>

#include "engine/checkpoint/params.h"

using namespace qllama;

class TestParams : public QObject {
    Q_OBJECT

private slots:
    void readsMetasFiles();
    void absentKeysStayEmpty();
    void nonsenseIsRefused_data();
    void nonsenseIsRefused();
    void changedBytesGiveNumbersOrASentence();
    void missingFileIsNotFound();

private:
    Result<Params> read(const QByteArray& content) {
        QFile file(m_folder.filePath("params.json"));
        if (!file.open(QFile::WriteOnly) || file.write(content) != content.size())
            qFatal("cannot write the test's own file");
        file.close();
        return readParams(m_folder.filePath("params.json").toStdString());
    }

    QTemporaryDir m_folder;
};

void TestParams::readsMetasFiles() {
    const auto params = read(R"({"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8,
        "vocab_size": 128256, "ffn_dim_multiplier": 1.3, "multiple_of": 1024, "norm_eps": 1e-05,
        "rope_theta": 500000.0, "use_scaled_rope": true, "max_seq_len": 8192})");
    QVERIFY2(params.ok(), params.ok() ? "" : params.error().text().c_str());
    QCOMPARE(params.value().dim, std::int64_t{4096});
    QCOMPARE(params.value().layerCount, std::int64_t{32});
    QCOMPARE(params.value().headCount, std::int64_t{32});
    QCOMPARE(params.value().kvHeadCount, std::optional<std::int64_t>(8));
    QCOMPARE(params.value().vocabularySize, std::optional<std::int64_t>(128256));
    QCOMPARE(params.value().ffnDimMultiplier, std::optional<double>(1.3));
    QCOMPARE(params.value().multipleOf, std::optional<std::int64_t>(1024));
    QCOMPARE(params.value().normEps, std::optional<double>(1e-5));
    QCOMPARE(params.value().ropeTheta, std::optional<double>(500000));
    QCOMPARE(params.value().maxSeqLen, std::optional<std::int64_t>(8192));
    QVERIFY(params.value().scaledRope);
}

void TestParams::absentKeysStayEmpty() {
    // Numbers with a fraction of zero, a byte order mark, unknown keys and null are all fine.
    const auto params = read(
        "\xEF\xBB\xBF{\"dim\": 512.0, \"n_layers\": 2, \"n_heads\": 8, "
        "\"n_kv_heads\": null, \"vocab_size\": -1, \"lora\": {\"rank\": 4}}");
    QVERIFY2(params.ok(), params.ok() ? "" : params.error().text().c_str());
    QCOMPARE(params.value().dim, std::int64_t{512});
    QVERIFY(!params.value().kvHeadCount);
    QVERIFY(!params.value().vocabularySize);
    QVERIFY(!params.value().multipleOf);
    QVERIFY(!params.value().ffnDimMultiplier);
    QVERIFY(!params.value().normEps);
    QVERIFY(!params.value().ropeTheta);
    QVERIFY(!params.value().maxSeqLen);
    QVERIFY(!params.value().scaledRope);
}

void TestParams::nonsenseIsRefused_data() {
    QTest::addColumn<QByteArray>("content");
    QTest::addColumn<QString>("words");
    const auto row = [](const char* name, const QByteArray& content, const char* words) {
        QTest::newRow(name) << content << QString(words);
    };
    // One key changed in an otherwise sound file.
    const auto key = [&](const char* name, const char* changed, const char* words) {
        QByteArray content = R"({"dim": 16, "n_layers": 2, "n_heads": 4, @})";
        row(name, content.replace("@", changed), words);
    };
    row("empty", "", "empty");
    row("not JSON", "dim = 16", "not valid JSON|byte");
    row("cut short", R"({"dim": 16, "n_lay)", "not valid JSON");
    row("python literal", "{'dim': 16}", "not valid JSON");
    row("a list", "[16]", "one JSON object");
    row("binary", QByteArray(300, '\xFF'), "not valid JSON");
    row("nested deeply", QByteArray(100000, '['), "not valid JSON");
    row("web page", "<!DOCTYPE html>", "not valid JSON");
    row("too large", QByteArray(2 << 20, ' '), "2097152 bytes");
    row("no dim", R"({"n_layers": 2, "n_heads": 4})", "\"dim\"|missing");
    row("no layers", R"({"dim": 16, "n_heads": 4})", "\"n_layers\"|missing");
    row("no heads", R"({"dim": 16, "n_layers": 4})", "\"n_heads\"|missing");
    row("null dim", R"({"dim": null, "n_layers": 2, "n_heads": 4})", "\"dim\"|missing");
    key("negative", R"("dim": -16)", "\"dim\"|-16");
    key("zero", R"("n_layers": 0)", "\"n_layers\"|0");
    key("fraction", R"("n_heads": 2.5)", "\"n_heads\"|whole number|2.5");
    key("text", R"("dim": "16")", "\"dim\"|the text \"16\"");
    key("boolean", R"("dim": true)", "\"dim\"|true");
    key("list", R"("n_heads": [4])", "\"n_heads\"|a list");
    key("absurdly large", R"("dim": 1000000000000)", "\"dim\"|1000000000000");
    key("beyond 64 bits", R"("n_layers": 1e300)", "\"n_layers\"|1e+300");
    key("no kv heads", R"("n_kv_heads": 0)", "\"n_kv_heads\"|0");
    key("no multiple", R"("multiple_of": 0)", "\"multiple_of\"|0");
    key("negative multiplier", R"("ffn_dim_multiplier": -1.5)", "\"ffn_dim_multiplier\"|-1.5");
    key("multiplier of text", R"("ffn_dim_multiplier": "big")", "\"ffn_dim_multiplier\"|big");
    key("large epsilon", R"("norm_eps": 2)", "\"norm_eps\"|2");
    key("zero theta", R"("rope_theta": 0)", "\"rope_theta\"|0");
    key("not a number", R"("rope_theta": NaN)", "not valid JSON");
    key("endless", R"("rope_theta": 1e999)", "JSON");
    key("empty vocabulary", R"("vocab_size": 0)", "\"vocab_size\"|0");
    key("odd vocabulary", R"("vocab_size": -2)", "\"vocab_size\"|-2");
    key("negative context", R"("max_seq_len": -1)", "\"max_seq_len\"|-1");
    key("flag as a number", R"("use_scaled_rope": 1)", "\"use_scaled_rope\"|true or false|1");
}

void TestParams::nonsenseIsRefused() {
    QFETCH(QByteArray, content);
    QFETCH(QString, words);
    const auto params = read(content);
    QVERIFY(!params.ok());
    const QString message = QString::fromStdString(params.error().message);
    for (const QString& word : words.split('|'))
        QVERIFY2(message.contains(word), qPrintable(message));
    QVERIFY2(message.endsWith('.'), qPrintable(message));
    QVERIFY(params.error().where.ends_with("params.json"));
    QCOMPARE(static_cast<int>(params.error().code), static_cast<int>(ErrorCode::InvalidFile));
}

void TestParams::changedBytesGiveNumbersOrASentence() {
    const QByteArray whole = R"({"dim": 4096, "n_layers": 32, "n_heads": 32, "norm_eps": 1e-05,
        "vocab_size": -1, "rope_theta": 500000.0, "use_scaled_rope": false})";
    // Half of them such as JSON is made of: others mostly end the reading at once.
    const QByteArray likely = "{}[]\",:-+.eE0123456789 \\utfn";
    std::mt19937 random(1957);  // its sequence is fixed by the standard
    int taken = 0;
    constexpr int kRounds = 2000;
    for (int round = 0; round < kRounds; ++round) {
        QByteArray changed = whole;
        const auto place = static_cast<qsizetype>(random() % static_cast<unsigned>(whole.size()));
        changed[place] = round % 2 == 0 ? likely[static_cast<qsizetype>(random() % likely.size())]
                                        : static_cast<char>(random());
        const auto params = read(changed);
        if (!params.ok()) {
            QVERIFY2(params.error().message.ends_with('.'), params.error().message.c_str());
            continue;
        }
        ++taken;
        QVERIFY(params.value().dim >= 1 && params.value().dim <= 1 << 24);
        QVERIFY(params.value().layerCount >= 1 && params.value().headCount >= 1);
        QVERIFY(!params.value().ropeTheta || *params.value().ropeTheta > 0);
    }
    QVERIFY(taken > kRounds / 20 && taken < kRounds / 2);
}

void TestParams::missingFileIsNotFound() {
    const auto params = readParams(m_folder.filePath("nowhere.json").toStdString());
    QVERIFY(!params.ok());
    QCOMPARE(static_cast<int>(params.error().code), static_cast<int>(ErrorCode::NotFound));
}

QTEST_GUILESS_MAIN(TestParams)
#include "test_params.moc"
