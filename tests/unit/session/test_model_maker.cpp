// Models of random weights: PyTorch and our own reader agree about what was written, the weights
// depend on the seed alone, and nothing is left behind when it does not work out.
#include <QFile>
#include <QProcess>
#include <QRegularExpression>
#include <QTemporaryDir>
#include <QTest>
#include <cmath>
#include <filesystem>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/model/llama_config.h"
#include "engine/session/generation_session.h"
#include "engine/session/model_maker.h"

using namespace qllama;
namespace fs = std::filesystem;

namespace {

ModelShape shapeOf(const char* text) {
    const auto shape = parseModelShape(text);
    if (!shape) qFatal("%s", shape.error().text().c_str());
    return shape.value();
}

// The error, or "" when the model was made.
std::string make(const ModelMakerRequest& request) {
    const auto made = makeModel(request, {}, {});
    return made ? std::string() : made.error().text();
}

Checkpoint open(const fs::path& folder) {
    auto checkpoint = openCheckpoint({.model = folder, .tokenizer = {}, .params = {}}, {});
    if (!checkpoint) qFatal("%s", checkpoint.error().text().c_str());
    return std::move(checkpoint).value();
}

std::vector<float> valuesOf(const CatalogTensor& tensor) {
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    std::vector<float> values(static_cast<std::size_t>(tensor.elementCount()));
    for (std::size_t row = 0; row * columns < values.size(); ++row)
        tensor.readRow(static_cast<std::int64_t>(row),
                       std::span(values).subspan(row * columns, columns));
    return values;
}

// Odd in every way that shards do not forbid.
constexpr const char* kOddShape = "dim=36,layers=3,heads=6,kv-heads=2,ffn=50,vocab=70";

class SilentSink : public GenerationSink {
public:
    void promptStarted(std::int64_t, std::uint64_t) override {}
    void promptProgress(std::int64_t, std::int64_t) override {}
    void promptDone(const PromptStatistics&) override {}
    void tokenReady(const TokenChunk&) override {}
};

}  // namespace

class TestModelMaker : public QObject {
    Q_OBJECT

private slots:
    void init() { QVERIFY(m_folder.isValid()); }
    void pytorchOpensIt();
    void pytorchSeesBfloat16();
    void isReadInPlace();
    void paramsGiveTheWidth_data();
    void paramsGiveTheWidth();
    void shardsAndThreadsDoNotChangeTheWeights();
    void seedsChangeTheWeights();
    void generates();
    void shapesAreChecked_data();
    void shapesAreChecked();
    void foldersThatAreReachedAgain();
    void refusals();
    void stopLeavesNothingBehind();

private:
    [[nodiscard]] fs::path folder(const char* name) const {
        return fs::path(m_folder.path().toStdString()) / name;
    }

    QTemporaryDir m_folder;
};

void TestModelMaker::pytorchOpensIt() {
    QCOMPARE(make({.shape = shapeOf(kOddShape), .folder = folder("torch")}), std::string());
    QProcess python;
    python.start(QLLAMA_PYTHON,
                 {QStringLiteral(QLLAMA_TEST_SOURCE_DIR "/support/describe_checkpoint.py"),
                  QString::fromStdString(folder("torch") / "consolidated.00.pth")});
    QVERIFY(python.waitForFinished(120'000));
    QVERIFY2(python.exitCode() == 0, python.readAllStandardError().constData());
    const QStringList lines =
        QString::fromUtf8(python.readAllStandardOutput()).split('\n', Qt::SkipEmptyParts);
    QCOMPARE(lines.size(), 3 + 3 * 9);
    const auto lineOf = [&](const QString& name) {
        return lines.filter(QRegularExpression("^" + QRegularExpression::escape(name) + "\t"))
            .value(0)
            .split('\t');
    };
    const QStringList down = lineOf("layers.2.feed_forward.w2.weight");
    QCOMPARE(down.mid(1, 3), QStringList({"torch.float16", "[36, 50]", "[50, 1]"}));
    QCOMPARE(lineOf("layers.0.attention.wk.weight").value(2), QString("[12, 36]"));
    const QStringList norm = lineOf("norm.weight");
    QCOMPARE(norm.mid(1), QStringList({"torch.float16", "[36]", "[1]", "1.0", "0.0"}));
    // 2520 values: the deviation is known to about 1.4 percent, the mean to 0.02 deviations.
    const QStringList output = lineOf("output.weight");
    const double deviation = 1 / std::sqrt(36.0);
    QVERIFY2(std::abs(output.value(5).toDouble() / deviation - 1) < 0.07, qPrintable(output[5]));
    QVERIFY2(std::abs(output.value(4).toDouble()) < 0.1 * deviation, qPrintable(output[4]));
}

void TestModelMaker::pytorchSeesBfloat16() {
    QCOMPARE(make({.shape = shapeOf(kOddShape), .folder = folder("bf16"), .dtype = DType::BF16}),
             std::string());
    QProcess python;
    python.start(QLLAMA_PYTHON,
                 {QStringLiteral(QLLAMA_TEST_SOURCE_DIR "/support/describe_checkpoint.py"),
                  QString::fromStdString(folder("bf16") / "consolidated.00.pth")});
    QVERIFY(python.waitForFinished(120'000));
    const QString lines = QString::fromUtf8(python.readAllStandardOutput());
    QCOMPARE(lines.count("torch.bfloat16"), 3 + 3 * 9);
    QVERIFY2(lines.contains("norm.weight\ttorch.bfloat16\t[36]\t[1]\t1.0\t0.0"), qPrintable(lines));
    // The same numbers as in f16, as far as 8 bits of them are kept.
    const auto narrow = valuesOf(open(folder("bf16")).tensors.at("output.weight"));
    QCOMPARE(make({.shape = shapeOf(kOddShape), .folder = folder("f16 beside")}), std::string());
    const auto wide = valuesOf(open(folder("f16 beside")).tensors.at("output.weight"));
    for (std::size_t i = 0; i < wide.size(); ++i)
        QVERIFY(std::abs(narrow[i] - wide[i]) <= std::abs(wide[i]) / 200);
}

void TestModelMaker::isReadInPlace() {
    QCOMPARE(make({.shape = shapeOf("tiny"), .folder = folder("in place")}), std::string());
    const Checkpoint checkpoint = open(folder("in place"));
    QCOMPARE(checkpoint.tensors.size(), std::size_t{3 + 2 * 9});
    for (const auto& [name, tensor] : checkpoint.tensors) {
        QVERIFY2(tensor.isInPlace(), name.c_str());
        QCOMPARE(tensor.dtype, DType::F16);
        QVERIFY(tensor.parts.front().storage.mapping != nullptr);
        QCOMPARE(reinterpret_cast<std::uintptr_t>(tensor.parts.front().data()) % 64, 0U);
    }
    QVERIFY(resolveConfig(checkpoint, 32000).ok());
}

void TestModelMaker::paramsGiveTheWidth_data() {
    QTest::addColumn<QString>("shape");
    for (const char* shape :
         {"dim=2048,layers=22,heads=32,kv-heads=4,ffn=5632", "dim=4096,layers=1,heads=32,ffn=11008",
          "dim=5120,layers=1,heads=40,ffn=13824", "dim=8,layers=1,heads=2,ffn=1",
          "dim=12,layers=1,heads=2,ffn=32767", "dim=4096,layers=1,heads=32,ffn=14336",
          "dim=4096,layers=1,heads=32,ffn=14337"})
        QTest::addRow("%s", shape) << shape;
}

// The reader applies Meta's formula to params.json and compares with the weights.
void TestModelMaker::paramsGiveTheWidth() {
    QFETCH(QString, shape);
    const ModelShape wanted = shapeOf(qPrintable(shape));
    const QString path = m_folder.filePath("params.json");
    QFile file(path);
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(QByteArray::fromStdString(paramsJson(wanted)));
    file.close();
    const auto params = readParams(path.toStdString());
    QVERIFY2(params.ok(), params.ok() ? "" : params.error().text().c_str());
    QCOMPARE(params.value().kvHeadCount.value_or(wanted.headCount), wanted.kvHeadCount);
    std::int64_t width = 2 * (4 * wanted.dim) / 3;
    if (params.value().ffnDimMultiplier)
        width = static_cast<std::int64_t>(*params.value().ffnDimMultiplier *
                                          static_cast<double>(width));
    const std::int64_t multiple = params.value().multipleOf.value();
    QCOMPARE((width + multiple - 1) / multiple * multiple, wanted.ffnDim);
}

void TestModelMaker::shardsAndThreadsDoNotChangeTheWeights() {
    const ModelShape shape = shapeOf(kOddShape);
    QCOMPARE(make({.shape = shape, .folder = folder("one"), .threadCount = 1}), std::string());
    QCOMPARE(make({.shape = shape, .folder = folder("two"), .shardCount = 2, .threadCount = 3}),
             std::string());
    const Checkpoint one = open(folder("one"));
    const Checkpoint two = open(folder("two"));
    QCOMPARE(two.shards.size(), std::size_t{2});
    QVERIFY(resolveConfig(two, 70).ok());
    QCOMPARE(two.tensors.size(), one.tensors.size());
    for (const auto& [name, tensor] : one.tensors) {
        QVERIFY2(two.tensors.at(name).shape == tensor.shape, name.c_str());
        QVERIFY2(valuesOf(two.tensors.at(name)) == valuesOf(tensor), name.c_str());
    }
}

void TestModelMaker::seedsChangeTheWeights() {
    const ModelShape shape = shapeOf(kOddShape);
    QCOMPARE(make({.shape = shape, .folder = folder("seed 5"), .seed = 5}), std::string());
    QCOMPARE(make({.shape = shape, .folder = folder("seed 6"), .seed = 6}), std::string());
    const Checkpoint five = open(folder("seed 5"));
    const Checkpoint six = open(folder("seed 6"));
    const auto query = valuesOf(five.tensors.at("layers.0.attention.wq.weight"));
    QVERIFY(query != valuesOf(six.tensors.at("layers.0.attention.wq.weight")));
    QVERIFY(query != valuesOf(five.tensors.at("layers.1.attention.wq.weight")));
}

void TestModelMaker::generates() {
    QProcess python;
    python.start(QLLAMA_PYTHON,
                 {QStringLiteral(QLLAMA_TEST_SOURCE_DIR "/unit/tokenizer/make_tokenizers.py"),
                  m_folder.path()});
    QVERIFY(python.waitForFinished(120'000) && python.exitCode() == 0);
    QCOMPARE(make({.shape = shapeOf("tiny"),
                   .folder = folder("speaks"),
                   .tokenizer = folder("llama.model")}),
             std::string());
    LoadRequest load;
    load.location.model = folder("speaks");
    auto model = loadModel(load, {}, {});
    QVERIFY2(model.ok(), model.ok() ? "" : model.error().text().c_str());
    GenerationSession session(std::move(model).value());
    GenerationRequest request;
    request.prompt = "A small boat";
    request.seed = 1;
    request.maxTokens = 8;
    request.ignoreEos = true;
    SilentSink sink;
    const auto result = session.generate(request, sink, {});
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().text().c_str());
    QCOMPARE(result.value().statistics.tokenCount, 8);
    double squares = 0;
    for (const float logit : session.promptLogits())
        squares += double{logit} * logit;
    // Normal weights of deviation 1 / sqrt(dim) on a normalised vector: logits of deviation 1.
    const double deviation =
        std::sqrt(squares / static_cast<double>(session.promptLogits().size()));
    QVERIFY2(deviation > 0.7 && deviation < 1.3, qPrintable(QString::number(deviation)));
}

void TestModelMaker::shapesAreChecked_data() {
    QTest::addColumn<QString>("shape");
    QTest::addColumn<QString>("sentence");
    QTest::newRow("unknown name") << "8b"
                                  << "'8b' is not known";
    QTest::newRow("empty") << ""
                           << "'' is not known";
    QTest::newRow("unknown extent") << "dim=8,layer=2"
                                    << "'layer' is not known";
    QTest::newRow("missing") << "dim=8,layers=2,heads=2"
                             << "does not say ffn";
    QTest::newRow("zero") << "dim=0"
                          << "dim needs a whole number from 1";
    QTest::newRow("not a number") << "dim=8x"
                                  << "not '8x'";
    QTest::newRow("no value") << "dim"
                              << "not ''";
    QTest::newRow("too large") << "dim=99999999"
                               << "to 1048576";
    QTest::newRow("odd heads") << "dim=9,layers=1,heads=3,ffn=8"
                               << "3 heads of an even size";
    QTest::newRow("wide heads") << "dim=4096,layers=1,heads=2,ffn=64"
                                << "2 heads of 2048; at most 1024 are supported";
    QTest::newRow("key heads") << "dim=16,layers=1,heads=4,kv-heads=3,ffn=8"
                               << "do not divide 4";
}

void TestModelMaker::shapesAreChecked() {
    QFETCH(QString, shape);
    QFETCH(QString, sentence);
    const auto parsed = parseModelShape(shape.toStdString());
    QVERIFY(!parsed.ok());
    QVERIFY2(parsed.error().text().find(sentence.toStdString()) != std::string::npos,
             parsed.error().text().c_str());
}

void TestModelMaker::foldersThatAreReachedAgain() {
    for (const char* name : {"there/../back", "here/."}) {
        const std::string problem = make({.shape = shapeOf("tiny"), .folder = folder(name)});
        QVERIFY2(problem.empty(), problem.c_str());
        QVERIFY(fs::exists(folder(name) / "params.json"));
    }
}

void TestModelMaker::refusals() {
    const auto refused = [](const ModelMakerRequest& request, const char* sentence) {
        const std::string text = make(request);
        const bool found = text.find(sentence) != std::string::npos;
        if (!found) qWarning("%s", text.c_str());
        return found;
    };
    ModelMakerRequest request{.shape = shapeOf("tiny"), .folder = folder("new/model")};
    request.shardCount = 3;
    QVERIFY(refused(request, "4 heads cannot be divided over 3 files"));
    request.shardCount = 1;
    request.shape = shapeOf("dim=1048576,layers=4096,heads=1024,ffn=4194304");
    QVERIFY(refused(request, "but the disk has only"));
    request.shape = shapeOf("tiny");
    request.tokenizer = folder("missing.model");
    QVERIFY(refused(request, "missing.model"));
    QVERIFY(!fs::exists(folder("new")));
    request.tokenizer.reset();
    request.folder = folder("taken");
    fs::create_directory(request.folder);
    QFile::copy(QStringLiteral(QLLAMA_TEST_SOURCE_DIR "/CMakeLists.txt"),
                m_folder.filePath("taken/notes.txt"));
    QVERIFY(refused(request, "in a new or an empty folder"));
    QVERIFY(fs::exists(folder("taken/notes.txt")));
}

void TestModelMaker::stopLeavesNothingBehind() {
    std::stop_source stop;
    const ModelMakerRequest request{
        .shape = shapeOf("tiny"), .folder = folder("deep/er"), .shardCount = 2};
    bool sawPartial = false;
    const auto made = makeModel(
        request,
        [&](std::int64_t done, std::int64_t total) {
            if (done * 2 < total) return;  // in the second file
            sawPartial = fs::exists(folder("deep/er/consolidated.00.pth.partial"));
            stop.request_stop();
        },
        stop.get_token());
    QVERIFY(!made.ok());
    QCOMPARE(made.error().code, ErrorCode::Cancelled);
    QVERIFY(sawPartial);
    QVERIFY(!fs::exists(folder("deep")));
}

QTEST_GUILESS_MAIN(TestModelMaker)
#include "test_model_maker.moc"
