// The CPU kernels against the plain loops, for every instruction set of this machine, on shapes that
// are multiples of nothing.
#include <QtTest>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/reference/reference_backend.h"
#include "tests/support/backends.h"
#include "tests/support/tensors.h"

using namespace qllama;
using namespace qllama::test;

class TestCpuBackend : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void cleanup();
    void matmulAgreesWithPlainLoop_data();
    void matmulAgreesWithPlainLoop();
    void matmulIsTheSameInAnyBatchAndThreads_data();
    void matmulIsTheSameInAnyBatchAndThreads();
    void attentionAgreesWithPlainLoop_data();
    void attentionAgreesWithPlainLoop();
    void attentionWeighsByPowersOfE();
    void elementwiseStepsAgree();
    void siluOfExtremesStaysFinite();
    void precisionConversionRoundsOnce();
    void unknownTargetIsRefusedWithTheList();

private:
    std::vector<std::string> m_targets;
};

void TestCpuBackend::initTestCase() {
    m_targets = cpu::simdTargetsFound();
    QVERIFY(!m_targets.empty());
}

void TestCpuBackend::cleanup() {
    QVERIFY(forceCpuTarget(m_targets.front()).ok());
}

void TestCpuBackend::matmulAgreesWithPlainLoop_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<int>("dtype");
    QTest::addColumn<int>("rows");
    QTest::addColumn<int>("columns");
    QTest::addColumn<int>("n");
    const int shapes[][3] = {{1, 1, 1},      {3, 7, 2},     {17, 33, 1},    {17, 33, 5},
                             {64, 256, 1},   {65, 515, 33}, {130, 1030, 1}, {45, 1030, 150},
                             {530, 600, 20}, {65, 515, 47}, {530, 600, 44}, {7, 13, 41},
                             {45, 1030, 3},  {45, 600, 4},  {33, 515, 6},   {33, 1030, 9},
                             {65, 300, 11},  {530, 600, 18}};
    for (const std::string& target : m_targets)
        for (const DType dtype : {DType::F32, DType::F16, DType::BF16})
            for (const auto& shape : shapes)
                QTest::addRow("%s %s %dx%d n=%d", target.c_str(),
                              std::string(nameOf(dtype)).c_str(), shape[0], shape[1], shape[2])
                    << QString::fromStdString(target) << static_cast<int>(dtype) << shape[0]
                    << shape[1] << shape[2];
}

void TestCpuBackend::matmulAgreesWithPlainLoop() {
    QFETCH(QString, target);
    QFETCH(int, dtype);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QFETCH(int, n);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const auto weights = tensorOf("w", {rows, columns}, static_cast<DType>(dtype),
                                  randomValues(rows * columns, 11, 1.0F));
    const auto x = randomValues(std::int64_t{n} * columns, 12, 1.0F);
    const auto before = randomValues(std::int64_t{n} * rows, 13, 1.0F);
    const auto cpuBackend = std::move(cpu::createCpuBackend(2)).value();
    const auto reference = createReferenceBackend();
    // |error| <= k u sum|w x|, and the sum of k products of unit normals is about 0.7 k; the
    // products here stay below 4 x 4.
    const float bound =
        kUnit * static_cast<float>(columns + 2) * 0.7F * static_cast<float>(columns) +
        kUnit * 32.0F;
    const float difference = largestDifference(multiply(*cpuBackend, weights, x, before, n),
                                               multiply(*reference, weights, x, before, n));
    QVERIFY2(difference <= bound, qPrintable(QString("%1 > %2").arg(difference).arg(bound)));
}

void TestCpuBackend::matmulIsTheSameInAnyBatchAndThreads_data() {
    matmulAgreesWithPlainLoop_data();
}

void TestCpuBackend::matmulIsTheSameInAnyBatchAndThreads() {
    QFETCH(QString, target);
    QFETCH(int, dtype);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QFETCH(int, n);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const auto weights = tensorOf("w", {rows, columns}, static_cast<DType>(dtype),
                                  randomValues(rows * columns, 21, 1.0F));
    const auto x = randomValues(std::int64_t{n} * columns, 22, 1.0F);
    const std::vector<float> zeros(static_cast<std::size_t>(n * rows));
    const auto one = std::move(cpu::createCpuBackend(1)).value();
    const auto together = multiply(*one, weights, x, zeros, n);
    for (const int threads : {2, 3}) {
        const auto backend = std::move(cpu::createCpuBackend(threads)).value();
        QCOMPARE(multiply(*backend, weights, x, zeros, n), together);
    }
    std::vector<float> apart;
    for (int i = 0; i < n; ++i) {
        const std::vector<float> row(x.begin() + std::int64_t{i} * columns,
                                     x.begin() + std::int64_t{i + 1} * columns);
        const std::vector<float> zeroRow(static_cast<std::size_t>(rows));
        for (const float value : multiply(*one, weights, row, zeroRow, 1))
            apart.push_back(value);
    }
    QCOMPARE(apart, together);
}

void TestCpuBackend::attentionAgreesWithPlainLoop_data() {
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

void TestCpuBackend::attentionAgreesWithPlainLoop() {
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

void TestCpuBackend::attentionWeighsByPowersOfE() {
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

void TestCpuBackend::elementwiseStepsAgree() {
    constexpr std::int64_t kWidth = 77;
    constexpr std::int64_t kRows = 3;
    const auto reference = createReferenceBackend();
    for (const std::string& target : m_targets) {
        QVERIFY(forceCpuTarget(target).ok());
        const auto backend = std::move(cpu::createCpuBackend(2)).value();
        const auto values = randomValues(kWidth * kRows, 5, 3.0F);
        const auto others = randomValues(kWidth * kRows, 6, 1.0F);
        std::vector<float> results[2];
        Backend* const both[] = {backend.get(), reference.get()};
        for (int i = 0; i < 2; ++i) {
            Backend& b = *both[i];
            const auto x = bufferOf(b, values);
            const auto gain = bufferOf(b, others);
            const auto out = bufferOf(b, std::vector<float>(kWidth * 2));
            b.rmsNorm(*x, 1, *gain, 1e-5F, kWidth, 2, *out);
            results[i] = readAll(b, *out, kWidth * 2);
            b.swiglu(*x, *gain, kWidth, kRows);
            for (const float value : readAll(b, *x, kWidth * kRows))
                results[i].push_back(value);
        }
        // Values below 30: a few roundings each, and the vector exp is within 4 units.
        QVERIFY(largestDifference(results[0], results[1]) <= 30.0F * 16.0F * kUnit);
    }
}

void TestCpuBackend::siluOfExtremesStaysFinite() {
    for (const std::string& target : m_targets) {
        QVERIFY(forceCpuTarget(target).ok());
        const auto backend = std::move(cpu::createCpuBackend(1)).value();
        const std::vector<float> extremes{-1e30F, -500.0F, -104.0F, -90.0F, 0.0F, 90.0F, 500.0F};
        const auto gate = bufferOf(*backend, extremes);
        const auto up = bufferOf(*backend, std::vector<float>(extremes.size(), 1.0F));
        const auto count = static_cast<std::int64_t>(extremes.size());
        backend->swiglu(*gate, *up, count, 1);
        const auto out = readAll(*backend, *gate, count);
        for (std::size_t i = 0; i + 3 < out.size(); ++i)
            QVERIFY(std::abs(out[i]) < 1e-6F || i == 0);
        QVERIFY(std::isfinite(out[0]));
        QCOMPARE(out[4], 0.0F);
        QCOMPARE(out[5], 90.0F);
        QCOMPARE(out[6], 500.0F);
    }
}

void TestCpuBackend::precisionConversionRoundsOnce() {
    const auto values = randomValues(7 * 19, 31, 1.0F);
    const auto weights = tensorOf("w", {7, 19}, DType::F32, values);
    for (const std::string& target : m_targets) {
        QVERIFY(forceCpuTarget(target).ok());
        const auto backend = std::move(cpu::createCpuBackend(2)).value();
        auto matrix = backend->loadMatrix(weights, Precision::F16, {});
        QVERIFY(matrix.ok());
        QCOMPARE(matrix.value()->sizeBytes(), 7 * 19 * 2);
        const auto x = bufferOf(*backend, std::vector<float>(3 * 19));
        const std::int32_t tokens[] = {6, 0, 3};
        backend->embed(*matrix.value(), tokens, *x);
        const auto rows = readAll(*backend, *x, 3 * 19);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto row = static_cast<std::size_t>(tokens[i / 19]);
            QCOMPARE(rows[i], halfToFloat(floatToHalf(values[row * 19 + i % 19])));
        }
    }
}

void TestCpuBackend::unknownTargetIsRefusedWithTheList() {
    const Result<void> result = forceCpuTarget("AVX9");
    QVERIFY(!result.ok());
    QVERIFY(result.error().message.find(m_targets.front()) != std::string::npos);
}

QTEST_GUILESS_MAIN(TestCpuBackend)
#include "test_cpu_backend.moc"
