// Products of the CPU against the plain loop, for every instruction set of this machine, on shapes that are
// multiples of nothing.
#include <QtTest>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/reference/reference_backend.h"
#include "tests/support/backends.h"
#include "tests/support/tensors.h"

using namespace qllama;
using namespace qllama::test;

class TestCpuMatmul : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void cleanup();
    void matmulAgreesWithPlainLoop_data();
    void matmulAgreesWithPlainLoop();
    void matmulIsTheSameInAnyBatchAndThreads_data();
    void matmulIsTheSameInAnyBatchAndThreads();

private:
    std::vector<std::string> m_targets;
};

void TestCpuMatmul::initTestCase() {
    m_targets = cpu::simdTargetsFound();
    QVERIFY(!m_targets.empty());
}

void TestCpuMatmul::cleanup() {
    QVERIFY(forceCpuTarget(m_targets.front()).ok());
}

void TestCpuMatmul::matmulAgreesWithPlainLoop_data() {
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

void TestCpuMatmul::matmulAgreesWithPlainLoop() {
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

void TestCpuMatmul::matmulIsTheSameInAnyBatchAndThreads_data() {
    matmulAgreesWithPlainLoop_data();
}

void TestCpuMatmul::matmulIsTheSameInAnyBatchAndThreads() {
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

QTEST_GUILESS_MAIN(TestCpuMatmul)
#include "test_cpu_matmul.moc"
