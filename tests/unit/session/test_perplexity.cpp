// Perplexity and divergence against plain sums over single-token forward passes.
#include <QTemporaryDir>
#include <QTest>
#include <cmath>
#include <filesystem>

#include "engine/session/model_maker.h"
#include "engine/session/perplexity.h"
#include "tests/support/broken_model.h"
#include "tests/unit/tokenizer/trained_models.h"

using namespace qllama;
namespace fs = std::filesystem;

namespace {

// log softmax, plainly
std::vector<double> logProbabilities(std::span<const float> logits) {
    double sum = 0;
    for (const float logit : logits)
        sum += std::exp(static_cast<double>(logit));
    std::vector<double> result;
    for (const float logit : logits)
        result.push_back(static_cast<double>(logit) - std::log(sum));
    return result;
}

// For each token of the text after BOS: the predictions of the first window that has it.
std::vector<std::vector<double>> plainPredictions(LoadedModel& model,
                                                  const std::vector<TokenId>& tokens) {
    Transformer& transformer = *model.transformer;
    const auto window = static_cast<std::size_t>(transformer.contextLength());
    std::vector<std::vector<double>> predictions(tokens.size() - 1);
    for (std::size_t begin = 0; begin < predictions.size(); begin += window / 2) {
        transformer.truncate(0);
        for (std::size_t i = begin; i < std::min(begin + window, predictions.size()); ++i) {
            const TokenId input[] = {i == begin ? tokens[0] : tokens[i]};
            if (!transformer.forward(input, {}, {}).ok()) return {};
            if (predictions[i].empty()) predictions[i] = logProbabilities(transformer.logits());
        }
    }
    transformer.truncate(0);
    return predictions;
}

// Words of the tokenizer's corpus and some it has not seen, often enough for several windows.
const std::string kText =
    "The old lighthouse keeper climbed the stairs every evening to light the lamp. Nobody quarrels "
    "with a small boat; it came into the harbour and the children ran down to greet it.\n";

}  // namespace

class TestPerplexity : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void equalsSingleForwards_data();
    void equalsSingleForwards();
    void comparesPrecisions();
    void itselfIsNoDivergence_data();
    void itselfIsNoDivergence();
    void refusals();
    void stops();
    void valuesThatAreNoNumbers();

private:
    std::unique_ptr<LoadedModel> load(Precision precision, std::int64_t context);

    test::TrainedModels m_tokenizers;
    QTemporaryDir m_folder;
};

void TestPerplexity::initTestCase() {
    QCOMPARE(m_tokenizers.train(), QString());
    QVERIFY(m_folder.isValid());
    const fs::path folder = fs::path(m_folder.path().toStdString()) / "model";
    const auto made = makeModel({.shape = parseModelShape("tiny").value(),
                                 .folder = folder,
                                 .tokenizer = m_tokenizers.path("llama.model")},
                                {}, {});
    QVERIFY2(made.ok(), made.ok() ? "" : made.error().text().c_str());
}

std::unique_ptr<LoadedModel> TestPerplexity::load(Precision precision, std::int64_t context) {
    LoadRequest request;
    request.location.model = fs::path(m_folder.path().toStdString()) / "model";
    request.precision = precision;
    request.contextLength = context;
    request.threadCount = 2;
    auto model = loadModel(request, {}, {});
    if (!model) qFatal("%s", model.error().text().c_str());
    return std::move(model).value();
}

void TestPerplexity::equalsSingleForwards_data() {
    QTest::addColumn<int>("context");
    QTest::newRow("one window") << 512;
    QTest::newRow("several windows") << 32;
    QTest::newRow("odd windows") << 21;
    QTest::newRow("windows of two") << 2;
}

void TestPerplexity::equalsSingleForwards() {
    QFETCH(int, context);
    const auto model = load(Precision::F32, context);
    const std::vector<TokenId> tokens = model->tokenizer->encode(kText);
    const auto predictions = plainPredictions(*model, tokens);
    double loss = 0;
    for (std::size_t i = 0; i < predictions.size(); ++i)
        loss -= predictions[i][static_cast<std::size_t>(tokens[i + 1])];
    const double expected = std::exp(loss / static_cast<double>(predictions.size()));
    const auto report = measurePerplexity(*model, nullptr, kText, {}, {});
    QVERIFY2(report.ok(), report.ok() ? "" : report.error().text().c_str());
    QCOMPARE(report.value().tokens, static_cast<std::int64_t>(tokens.size()) - 1);
    QCOMPARE(report.value().windowLength, context);
    QVERIFY(!report.value().comparison);
    // f32 sums in another order; the logits are of order 1.
    QVERIFY2(std::abs(report.value().perplexity / expected - 1) < 1e-4,
             qPrintable(QString("%1 %2").arg(report.value().perplexity).arg(expected)));
    QCOMPARE(model->transformer->position(), 0);
}

void TestPerplexity::comparesPrecisions() {
    const auto model = load(Precision::Q4, 64);
    const auto reference = load(Precision::F32, 64);
    const std::vector<TokenId> tokens = model->tokenizer->encode(kText);
    const auto ours = plainPredictions(*model, tokens);
    const auto theirs = plainPredictions(*reference, tokens);
    double divergence = 0;
    int agreements = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
        for (std::size_t token = 0; token < ours[i].size(); ++token)
            divergence += std::exp(theirs[i][token]) * (theirs[i][token] - ours[i][token]);
        const auto top = [](const std::vector<double>& values) {
            return std::max_element(values.begin(), values.end()) - values.begin();
        };
        agreements += top(ours[i]) == top(theirs[i]) ? 1 : 0;
    }
    const auto count = static_cast<double>(ours.size());
    const auto report = measurePerplexity(*model, reference.get(), kText, {}, {});
    QVERIFY2(report.ok(), report.ok() ? "" : report.error().text().c_str());
    const PrecisionComparison& comparison = report.value().comparison.value();
    QCOMPARE(comparison.precision, std::string("f32"));
    QVERIFY(divergence / count > 1e-4);  // q4 does lose something
    QVERIFY2(std::abs(comparison.meanKlDivergence / (divergence / count) - 1) < 1e-2,
             qPrintable(QString("%1 %2").arg(comparison.meanKlDivergence).arg(divergence / count)));
    QVERIFY(std::abs(comparison.topAgreement - agreements / count) <= 1 / count);
    const auto alone = measurePerplexity(*reference, nullptr, kText, {}, {});
    QCOMPARE(alone.value().perplexity, comparison.perplexity);
}

void TestPerplexity::itselfIsNoDivergence_data() {
    QTest::addColumn<int>("precision");
    for (const PrecisionInfo& info : precisions())
        QTest::newRow(std::string(info.key).c_str()) << static_cast<int>(info.precision);
}

void TestPerplexity::itselfIsNoDivergence() {
    QFETCH(int, precision);
    const auto model = load(static_cast<Precision>(precision), 64);
    const auto reference = load(static_cast<Precision>(precision), 64);
    const auto report = measurePerplexity(*model, reference.get(), kText, {}, {});
    QVERIFY(report.ok());
    QCOMPARE(report.value().comparison->meanKlDivergence, 0.0);
    QCOMPARE(report.value().comparison->topAgreement, 1.0);
    QCOMPARE(report.value().comparison->perplexity, report.value().perplexity);
}

void TestPerplexity::refusals() {
    const auto model = load(Precision::Source, 64);
    const auto shorter = load(Precision::Source, 32);
    const auto empty = measurePerplexity(*model, nullptr, "", {}, {});
    QVERIFY(!empty.ok());
    QCOMPARE(empty.error().code, ErrorCode::InvalidRequest);
    const auto other = measurePerplexity(*model, shorter.get(), kText, {}, {});
    QVERIFY(!other.ok());
    QCOMPARE(other.error().code, ErrorCode::InvalidRequest);
}

void TestPerplexity::stops() {
    const auto model = load(Precision::Source, 16);
    std::stop_source stop;
    const auto report = measurePerplexity(
        *model, nullptr, kText,
        [&stop](std::int64_t done, std::int64_t total) {
            if (done * 2 > total) stop.request_stop();
        },
        stop.get_token());
    QVERIFY(!report.ok());
    QCOMPARE(report.error().code, ErrorCode::Cancelled);
}

void TestPerplexity::valuesThatAreNoNumbers() {
    const QTemporaryDir folder;
    QVERIFY(test::copyDemoModel(folder.path()));
    QVERIFY(test::replaceWeight(folder.path(), "output.weight", 7, test::kHalfInfinity));
    LoadRequest request;
    request.location.model = folder.path().toStdString();
    const auto model = loadModel(request, {}, {});
    QVERIFY(model.ok());
    const auto report = measurePerplexity(*model.value(), nullptr, kText, {}, {});
    QVERIFY(!report.ok());
    QVERIFY2(report.error().message.find("not numbers") != std::string::npos,
             report.error().message.c_str());
}

QTEST_GUILESS_MAIN(TestPerplexity)
#include "test_perplexity.moc"
