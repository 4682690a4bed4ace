// Logits and greedy text against PyTorch, on models that torch.save wrote.
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QProcess>
#include <QTemporaryDir>
#include <QtTest>
#include <cmath>
#include <cstring>

#include "engine/session/generation_session.h"
#include "tests/support/difference.h"

using namespace qllama;

namespace {

class CollectingSink : public GenerationSink {
public:
    void promptStarted(std::int64_t, std::uint64_t) override {}
    void promptProgress(std::int64_t, std::int64_t) override {}
    void promptDone(const PromptStatistics& statistics) override { prompt = statistics.tokens; }
    void tokenReady(const TokenChunk& chunk) override { tokens.push_back(chunk.token); }

    std::vector<TokenId> prompt;
    std::vector<TokenId> tokens;
};

std::vector<TokenId> tokensOf(const QJsonValue& array) {
    std::vector<TokenId> tokens;
    for (const QJsonValue value : array.toArray())
        tokens.push_back(value.toInt());
    return tokens;
}

}  // namespace

class TestLogits : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void agreesWithPyTorch_data();
    void agreesWithPyTorch();

private:
    QTemporaryDir m_folder;
};

void TestLogits::initTestCase() {
    QVERIFY(m_folder.isValid());
    QProcess oracle;
    oracle.setProcessChannelMode(QProcess::MergedChannels);
    auto environment = QProcessEnvironment::systemEnvironment();
    environment.insert("OPENBLAS_NUM_THREADS", "1");
    oracle.setProcessEnvironment(environment);
    oracle.start(QLLAMA_PYTHON, {QLLAMA_TEST_SOURCE_DIR "/reference/llama_reference.py",
                                 m_folder.filePath("models")});
    QVERIFY2(oracle.waitForFinished(500000) && oracle.exitCode() == 0,
             qPrintable("PyTorch reference failed: " + oracle.readAll()));
}

void TestLogits::agreesWithPyTorch_data() {
    QTest::addColumn<QString>("folder");
    QTest::addColumn<QString>("precision");
    QTest::addColumn<bool>("halfCache");
    const QDir models(m_folder.filePath("models"));
    for (const QString& name : models.entryList(QDir::Dirs | QDir::NoDotAndDotDot)) {
        QTest::newRow(qPrintable(name)) << models.filePath(name) << "source" << false;
        QTest::newRow(qPrintable(name + " widened")) << models.filePath(name) << "f32" << false;
        QTest::newRow(qPrintable(name + " packed")) << models.filePath(name) << "packed" << false;
        QTest::newRow(qPrintable(name + " f16 cache")) << models.filePath(name) << "source" << true;
    }
}

void TestLogits::agreesWithPyTorch() {
    QFETCH(QString, folder);
    QFETCH(QString, precision);
    QFETCH(bool, halfCache);
    QFile file(folder + "/expected.json");
    QVERIFY(file.open(QIODevice::ReadOnly));
    const QJsonObject expected = QJsonDocument::fromJson(file.readAll()).object();

    LoadRequest load;
    load.location.model = folder.toStdString();
    load.precision = precisionFromKey(precision.toStdString()).value();
    load.threadCount = 2;
    if (halfCache) load.kvPrecision = KvPrecision::F16;
    auto model = loadModel(load, {}, {});
    QVERIFY2(model.ok(), model.ok() ? "" : model.error().text().c_str());
    GenerationSession session(std::move(model).value());

    GenerationRequest request;
    request.prompt = expected["prompt"].toString().toStdString();
    request.sampler.set("temperature", 0);
    request.maxTokens = 64;
    request.ignoreEos = true;
    CollectingSink sink;
    const auto result = session.generate(request, sink, {});
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().text().c_str());
    QCOMPARE(sink.prompt, tokensOf(expected["prompt_tokens"]));

    QFile logitsFile(folder + "/expected_logits.bin");
    QVERIFY(logitsFile.open(QIODevice::ReadOnly));
    const QByteArray bytes = logitsFile.readAll();
    const std::vector<float>& logits = session.promptLogits();
    QCOMPARE(static_cast<std::size_t>(bytes.size()), logits.size() * sizeof(float));
    std::vector<float> reference(logits.size());
    std::memcpy(reference.data(), bytes.constData(), static_cast<std::size_t>(bytes.size()));
    const double largest = double{test::largestDifference(logits, reference)};
    // Both sides evaluate the same weights in f32. Keys and values rounded to f16 change the output
    // of each layer by about one part in 2^11.
    const double logitScale = expected["largest_logit"].toDouble();
    const double layers = static_cast<double>(session.model().info.config.layerCount);
    const bool wide = precision == "f32" || folder.endsWith("f32") || folder.endsWith("f64");
    const double tolerance = halfCache ? logitScale * layers / 2048.0 : wide ? 1e-4 : 1e-3;
    qInfo("largest difference %.2e (logits up to %.1f)", largest, logitScale);
    QVERIFY2(largest <= tolerance, qPrintable(QString::number(largest)));
    if (halfCache) return;  // two tokens this close may change places
    QCOMPARE(sink.tokens, tokensOf(expected["greedy_tokens"]));
}

QTEST_GUILESS_MAIN(TestLogits)
#include "test_logits.moc"
