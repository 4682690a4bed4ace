// Attention of the CPU against the plain loop, for every instruction set of this machine.
#include <QtTest>
#include <cmath>
#include <numeric>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/reference/reference_backend.h"
#include "tests/support/backends.h"
#include "tests/support/tensors.h"

using namespace qllama;
using namespace qllama::test;

class TestCpuAttention : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void cleanup();
    void attentionAgreesWithPlainLoop_data();
    void attentionAgreesWithPlainLoop();
    void attentionWeighsByPowersOfE();

private:
    std::vector<std::string> m_targets;
};

void TestCpuAttention::initTestCase() {
    m_targets = cpu::simdTargetsFound();
    QVERIFY(!m_targets.empty());
}

void TestCpuAttention::cleanup() {
    QVERIFY(forceCpuTarget(m_targets.front()).ok());
}

void TestCpuAttention::attentionAgreesWithPlainLoop_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<int>("heads");
    QTest::addColumn<int>("kvHeads");
    QTest::addColumn<int>("headDim");
    QTest::addColumn<int>("past");
    QTest::addColumn<int>("rows");
    QTest::addColumn<bool>("half");
    const int shapes[][5] = {{4, 4, 8, 0, 1},     {4, 2, 6, 0, 7},     {8, 1, 32, 63, 3},
                             {6, 2, 10, 65, 40},  {4, 2, 16, 1030, 2}, {2, 1, 64, 500, 30},
                             {2, 2, 128, 70, 90}, {2, 1, 100, 10, 40}, {3, 3, 136, 600, 70}};
    for (const std::string& target : m_targets)
        for (const auto& s : shapes)
            for (const bool half : {false, true})
                QTest::addRow("%s heads=%d/%d dim=%d past=%d rows=%d %s", target.c_str(), s[0],
                              s[1], s[2], s[3], s[4], half ? "f16" : "f32")
                    << QString::fromStdString(target) << s[0] << s[1] << s[2] << s[3] << s[4]
                    << half;
}

void TestCpuAttention::attentionAgreesWithPlainLoop() {
    QFETCH(QString, target);
    QFETCH(int, heads);
    QFETCH(int, kvHeads);
    QFETCH(int, headDim);
    QFETCH(int, past);
    QFETCH(int, rows);
    QFETCH(bool, half);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const AttentionCase test{
        {heads, kvHeads, headDim}, past, rows, half ? KvPrecision::F16 : KvPrecision::F32};
    const auto one = std::move(cpu::createCpuBackend(1)).value();
    const auto three = std::move(cpu::createCpuBackend(3)).value();
    const auto reference = createReferenceBackend();
    const auto together = attendInSteps(*one, test, rows);
    // An output is a mean of values below 4 whose weights carry the error of a score (a dot product
    // of headDim terms) through exp. A rotated key may also round to the neighbouring half: one part
    // in 2^11 of a score below about 16.
    const float scores = kUnit * static_cast<float>(headDim * headDim + past + rows) * 8.0F;
    const float bound = (half ? 4.0F / 2048.0F : 0.0F) + scores + 64.0F * kUnit;
    const float difference = largestDifference(together, attendInSteps(*reference, test, rows));
    QVERIFY2(difference <= bound, qPrintable(QString("%1 > %2").arg(difference).arg(bound)));
    QCOMPARE(attendInSteps(*one, test, 1), together);
    QCOMPARE(attendInSteps(*three, test, 1), together);
    QCOMPARE(attendInSteps(*three, test, rows), together);
}

void TestCpuAttention::attentionWeighsByPowersOfE() {
    // Position j has the score -j / 8 and the value of a unit vector, so that the output is the weights.
    constexpr std::int64_t kCount = 64;
    const AttentionShape shape{1, 1, kCount};
    std::vector<float> query(kCount), still(kCount * kCount), keys(kCount * kCount),
        values(kCount * kCount);
    query[0] = std::sqrt(static_cast<float>(kCount));  // undoes the scale
    std::vector<double> scores, expected;
    for (std::size_t j = 0; j < kCount; ++j) {
        scores.push_back(j + 1 < kCount ? -static_cast<double>(j) / 8 : -200);
        keys[j * kCount] = static_cast<float>(scores.back());
        values[j * kCount + j] = 1;
        expected.push_back(std::exp(scores.back()));
        for (std::size_t pair = 0; pair < kCount; pair += 2)
            still[j * kCount + pair] = 1;  // the cosine of no rotation
    }
    const double sum = std::accumulate(expected.begin(), expected.end(), 0.0);
    for (const std::string& target : m_targets) {
        QVERIFY(forceCpuTarget(target).ok());
        const auto backend = std::move(cpu::createCpuBackend(1)).value();
        const auto cache = backend->createKvCache({1, 1, kCount, kCount, KvPrecision::F32}).value();
        const auto k = bufferOf(*backend, keys);
        const auto v = bufferOf(*backend, values);
        const auto unused = bufferOf(*backend, keys);
        backend->ropeAndStore(*unused, *k, *v, *bufferOf(*backend, still), shape, *cache, 0, 0,
                              kCount);
        const auto out = bufferOf(*backend, query);
        backend->attention(*bufferOf(*backend, query), shape, *cache, 0, kCount - 1, 1, *out);
        const auto weights = readAll(*backend, *out, kCount);
        for (std::size_t j = 0; j + 1 < kCount; ++j) {
            // A score is rounded twice, its power within two units, and sum and quotient a little more.
            const double error = std::abs(weights[j] * sum / expected[j] - 1);
            const double bound = (4 * std::abs(scores[j]) + 12) * kUnit;
            QVERIFY2(error <= bound,
                     qPrintable(QString("%1: %2 > %3").arg(j).arg(error).arg(bound)));
        }
        QCOMPARE(weights.back(), 0.0F);
    }
}

QTEST_GUILESS_MAIN(TestCpuAttention)
#include "test_cpu_attention.moc"
