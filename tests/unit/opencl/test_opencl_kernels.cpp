// The OpenCL kernels against the plain loops, on every device found and in both forms, on shapes that
// are multiples of nothing.
#include <QtTest>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/reference/reference_backend.h"
#include "tests/support/backends.h"
#include "tests/unit/opencl/targets.h"

using namespace qllama;
using namespace qllama::test;

class TestOpenClKernels : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void matmulAgreesWithPlainLoop_data();
    void matmulAgreesWithPlainLoop();
    void quantisedMatmulAgreesWithPlainLoop_data();
    void quantisedMatmulAgreesWithPlainLoop();
    void activationsThatAreNoNumbersMakeNone_data();
    void activationsThatAreNoNumbersMakeNone();
    void severalMatricesInOneCall();
    void matrixLargerThanAnAllocation();
    void attentionAgreesWithPlainLoop_data();
    void attentionAgreesWithPlainLoop();
    void elementwiseStepsAgree();
    void siluOfExtremesStaysFinite();
    void precisionConversionRoundsOnce();

private:
    template <typename Add>
    void forEachTarget(const Add& add);

    std::vector<Target> m_targets;
};

void TestOpenClKernels::initTestCase() {
    m_targets = findTargets();
    QVERIFY(!m_targets.empty());
}

template <typename Add>
void TestOpenClKernels::forEachTarget(const Add& add) {
    for (std::size_t i = 0; i < m_targets.size(); ++i)
        add(static_cast<int>(i), m_targets[i].name.c_str());
}

void TestOpenClKernels::matmulAgreesWithPlainLoop_data() {
    QTest::addColumn<int>("target");
    QTest::addColumn<int>("dtype");
    QTest::addColumn<int>("rows");
    QTest::addColumn<int>("columns");
    QTest::addColumn<int>("n");
    const int shapes[][3] = {{1, 1, 1},    {3, 7, 2},     {17, 33, 1},   {17, 33, 5},
                             {64, 256, 1}, {65, 515, 31}, {130, 530, 1}, {31, 530, 130}};
    forEachTarget([&](int target, const char* name) {
        for (const DType dtype : {DType::F32, DType::F16, DType::BF16})
            for (const auto& shape : shapes)
                QTest::addRow("%s %s %dx%d n=%d", name, std::string(nameOf(dtype)).c_str(),
                              shape[0], shape[1], shape[2])
                    << target << static_cast<int>(dtype) << shape[0] << shape[1] << shape[2];
    });
}

void TestOpenClKernels::matmulAgreesWithPlainLoop() {
    QFETCH(int, target);
    QFETCH(int, dtype);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QFETCH(int, n);
    const auto backend = open(m_targets[static_cast<std::size_t>(target)]);
    QVERIFY(backend);
    const auto weights = tensorOf("w", {rows, columns}, static_cast<DType>(dtype),
                                  randomValues(rows * columns, 11, 1.0F));
    const auto x = randomValues(std::int64_t{n} * columns, 12, 1.0F);
    const auto before = randomValues(std::int64_t{n} * rows, 13, 1.0F);
    const auto reference = createReferenceBackend();
    // |error| <= k u sum|w x|, and the sum of k products of unit normals is about 0.7 k; the
    // products here stay below 4 x 4.
    const float bound =
        kUnit * static_cast<float>(columns + 2) * 0.7F * static_cast<float>(columns) +
        kUnit * 32.0F;
    const float difference = largestDifference(multiply(*backend, weights, x, before, n),
                                               multiply(*reference, weights, x, before, n));
    QVERIFY2(difference <= bound, qPrintable(QString("%1 > %2").arg(difference).arg(bound)));
}

void TestOpenClKernels::quantisedMatmulAgreesWithPlainLoop_data() {
    QTest::addColumn<int>("target");
    QTest::addColumn<int>("precision");
    QTest::addColumn<int>("rows");
    QTest::addColumn<int>("columns");
    QTest::addColumn<int>("n");
    QTest::addColumn<QByteArray>("kernelOptions");
    const int shapes[][3] = {{1, 1, 1},     {17, 33, 1},   {16, 32, 2},   {64, 256, 1},
                             {65, 515, 31}, {130, 530, 1}, {31, 530, 130}};
    forEachTarget([&](int target, const char* name) {
        for (const Precision precision : {Precision::Q8, Precision::Q4})
            for (const auto& shape : shapes)
                QTest::addRow("%s %s %dx%d n=%d", name, std::string(keyOf(precision)).c_str(),
                              shape[0], shape[1], shape[2])
                    << target << static_cast<int>(precision) << shape[0] << shape[1] << shape[2]
                    << QByteArray();
        // As on devices whose instructions the kernels do not name.
        const bool cpu =
            m_targets[static_cast<std::size_t>(target)].form == opencl::FormChoice::Cpu;
        for (const Precision precision : {Precision::Q8, Precision::Q4})
            for (const int n : {1, 31})
                QTest::addRow("%s plain %s n=%d", name, std::string(keyOf(precision)).c_str(), n)
                    << target << static_cast<int>(precision) << 65 << 515 << n
                    << QByteArray(cpu ? "-DWIDENS_BYTES" : "-DPLAIN_BYTES");
    });
}

void TestOpenClKernels::quantisedMatmulAgreesWithPlainLoop() {
    QFETCH(int, target);
    QFETCH(QByteArray, kernelOptions);
    QFETCH(int, precision);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QFETCH(int, n);
    const auto form = static_cast<Precision>(precision);
    const std::int64_t blocks = (columns + 31) / 32;
    // Pieces of a few tiles.
    const std::int64_t largest =
        std::max<std::int64_t>({matrixBytes(form, DType::F16, 32, columns),
                                std::int64_t{n} * rows * 4, std::int64_t{n} * blocks * 128});
    Target chosen = m_targets[static_cast<std::size_t>(target)];
    chosen.kernelOptions = kernelOptions.toStdString();
    const auto backend = open(chosen, largest);
    QVERIFY(backend);
    const auto weights =
        tensorOf("w", {rows, columns}, DType::F16, randomValues(rows * columns, 11, 1.0F));
    const auto x = randomValues(std::int64_t{n} * columns, 12, 1.0F);
    const auto before = randomValues(std::int64_t{n} * rows, 13, 1.0F);
    const auto reference = createReferenceBackend({.roundsActivations = true});
    const auto got = multiply(*backend, weights, x, before, n, form);
    // As for plain rows; scaling after the sum rounds once or twice more for each block.
    const float bound =
        kUnit * static_cast<float>(columns + 64) * 0.7F * static_cast<float>(columns) +
        kUnit * 64.0F;
    const float difference =
        largestDifference(got, multiply(*reference, weights, x, before, n, form));
    QVERIFY2(difference <= bound, qPrintable(QString("%1 > %2").arg(difference).arg(bound)));
    // The CPU engine, too, sums a block exactly and rounds a few times for each: the terms of q4, a
    // scale and a middle, may be a few times as large as their sum.
    const auto cpu = std::move(cpu::createCpuBackend(1)).value();
    const float narrow =
        kUnit * static_cast<float>(blocks + 8) * 3 * 0.7F * static_cast<float>(columns);
    const float apart = largestDifference(got, multiply(*cpu, weights, x, before, n, form));
    QVERIFY2(apart <= narrow, qPrintable(QString("%1 > %2").arg(apart).arg(narrow)));
}

void TestOpenClKernels::activationsThatAreNoNumbersMakeNone_data() {
    QTest::addColumn<int>("target");
    QTest::addColumn<int>("precision");
    QTest::addColumn<int>("n");
    forEachTarget([&](int target, const char* name) {
        for (const Precision precision : {Precision::Source, Precision::Q8, Precision::Q4})
            for (const int n : {1, 5, 130})
                QTest::addRow("%s %s n=%d", name, std::string(keyOf(precision)).c_str(), n)
                    << target << static_cast<int>(precision) << n;
    });
}

// One value of one token, in the first, a whole and the last block: its results and no other token's.
void TestOpenClKernels::activationsThatAreNoNumbersMakeNone() {
    constexpr std::int64_t kRows = 33;
    constexpr std::int64_t kColumns = 70;
    QFETCH(int, target);
    QFETCH(int, precision);
    QFETCH(int, n);
    const auto backend = open(m_targets[static_cast<std::size_t>(target)]);
    QVERIFY(backend);
    const auto weights =
        tensorOf("w", {kRows, kColumns}, DType::F16, randomValues(kRows * kColumns, 11, 1.0F));
    const std::vector<float> before(static_cast<std::size_t>(n * kRows), 1.0F);
    const std::int64_t odd = n / 2;
    for (const std::int64_t column : {0, 40, 69})
        for (const float value :
             {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
              -std::numeric_limits<float>::infinity()}) {
            auto x = randomValues(n * kColumns, 12, 1.0F);
            x[static_cast<std::size_t>(odd * kColumns + column)] = value;
            const auto got =
                multiply(*backend, weights, x, before, n, static_cast<Precision>(precision));
            for (std::int64_t i = 0; i < n * kRows; ++i)
                QCOMPARE(std::isfinite(got[static_cast<std::size_t>(i)]), i / kRows != odd);
        }
}

void TestOpenClKernels::severalMatricesInOneCall() {
    constexpr std::int64_t kColumns = 40;
    const std::int64_t rows[] = {19, 5, 33, 8};
    const DType dtypes[] = {DType::F16, DType::F16, DType::F16, DType::F32};
    const auto x = randomValues(kColumns, 1, 1.0F);
    for (const Target& target : m_targets) {
        std::vector<float> results[2];
        const auto backend = open(target);
        const auto reference = createReferenceBackend();
        Backend* const both[] = {backend.get(), reference.get()};
        for (int side = 0; side < 2; ++side) {
            Backend& b = *both[side];
            const auto in = bufferOf(b, x);
            std::vector<std::unique_ptr<Matrix>> matrices;
            std::vector<std::unique_ptr<Buffer>> outs;
            std::vector<MatmulTask> tasks;
            for (std::size_t i = 0; i < 4; ++i) {
                const auto values = randomValues(rows[i] * kColumns, 20 + i, 1.0F);
                matrices.push_back(
                    b.loadMatrix(tensorOf("w", {rows[i], kColumns}, dtypes[i], values),
                                 Precision::Source, {})
                        .value());
                outs.push_back(bufferOf(b, randomValues(rows[i], 30 + i, 1.0F)));
                tasks.push_back({matrices.back().get(), outs.back().get(), i % 2 == 1});
            }
            b.matmul(tasks, *in, 1);
            for (std::size_t i = 0; i < 4; ++i)
                for (const float value : readAll(b, *outs[i], rows[i]))
                    results[side].push_back(value);
        }
        QVERIFY2(largestDifference(results[0], results[1]) <= kUnit * kColumns * kColumns,
                 target.name.c_str());
    }
}

void TestOpenClKernels::matrixLargerThanAnAllocation() {
    constexpr std::int64_t kRows = 70;
    constexpr std::int64_t kColumns = 24;
    const auto values = randomValues(kRows * kColumns, 3, 1.0F);
    const auto weights = tensorOf("w", {kRows, kColumns}, DType::F16, values);
    const std::int32_t tokens[] = {0, 69, 12, 13, 40, 13};
    for (const Target& target : m_targets) {
        const auto backend = open(target, 13 * kColumns * 2);  // six pieces
        QVERIFY(backend);
        auto matrix = backend->loadMatrix(weights, Precision::Source, {});
        QVERIFY2(matrix.ok(), matrix.ok() ? "" : matrix.error().text().c_str());
        QCOMPARE(matrix.value()->sizeBytes(), kRows * kColumns * 2);
        const auto whole = open(target);
        for (const std::int64_t n : {1, 5}) {
            const auto x = randomValues(n * kColumns, 4, 1.0F);
            const auto before = randomValues(n * kRows, 5, 1.0F);
            const auto reference = createReferenceBackend();
            const auto small =
                open(target, std::max<std::int64_t>(13 * kColumns * 2, n * kRows * 4));
            QVERIFY(largestDifference(multiply(*small, weights, x, before, n),
                                      multiply(*reference, weights, x, before, n)) <=
                    kUnit * kColumns * kColumns);
        }
        auto spread = open(target, 6 * kColumns * 4);
        auto table = spread->loadMatrix(weights, Precision::Source, {});
        QVERIFY(table.ok());
        const auto x = bufferOf(*spread, std::vector<float>(6 * kColumns));
        spread->embed(*table.value(), tokens, *x);
        const auto rows = readAll(*spread, *x, 6 * kColumns);
        QCOMPARE(rows.size(), std::size_t{6 * kColumns});
        for (std::size_t i = 0; i < rows.size(); ++i)
            QCOMPARE(rows[i], halfToFloat(floatToHalf(
                                  values[static_cast<std::size_t>(tokens[i / kColumns]) * kColumns +
                                         i % kColumns])));
    }
}

void TestOpenClKernels::attentionAgreesWithPlainLoop_data() {
    QTest::addColumn<int>("target");
    QTest::addColumn<int>("heads");
    QTest::addColumn<int>("kvHeads");
    QTest::addColumn<int>("headDim");
    QTest::addColumn<int>("past");
    QTest::addColumn<int>("rows");
    QTest::addColumn<bool>("half");
    // Among them rows that see nothing of a later split, groups too large for one tile, and heads too
    // large for a full one.
    const int shapes[][5] = {{4, 4, 8, 0, 1},    {4, 2, 6, 0, 2},     {8, 1, 32, 63, 3},
                             {6, 2, 10, 65, 31}, {2, 1, 16, 1030, 1}, {2, 1, 64, 300, 130},
                             {2, 1, 8, 28, 6},   {34, 2, 8, 40, 3},   {4, 1, 256, 100, 3}};
    forEachTarget([&](int target, const char* name) {
        for (const auto& s : shapes)
            for (const bool half : {false, true})
                QTest::addRow("%s heads=%d/%d dim=%d past=%d rows=%d %s", name, s[0], s[1], s[2],
                              s[3], s[4], half ? "f16" : "f32")
                    << target << s[0] << s[1] << s[2] << s[3] << s[4] << half;
    });
}

void TestOpenClKernels::attentionAgreesWithPlainLoop() {
    QFETCH(int, target);
    QFETCH(int, heads);
    QFETCH(int, kvHeads);
    QFETCH(int, headDim);
    QFETCH(int, past);
    QFETCH(int, rows);
    QFETCH(bool, half);
    const AttentionCase test{
        {heads, kvHeads, headDim}, past, rows, half ? KvPrecision::F16 : KvPrecision::F32};
    const auto backend = open(m_targets[static_cast<std::size_t>(target)]);
    QVERIFY(backend);
    const auto reference = createReferenceBackend();
    const auto expected = attendInSteps(*reference, test, rows);
    // An output is a mean of values below 4 whose weights carry the error of a score (a dot product
    // of headDim terms) through exp. A rotated key may also round to the neighbouring half: one part
    // in 2^11 of a score below about 16.
    const float scores = kUnit * static_cast<float>(headDim * headDim + past + rows) * 8.0F;
    const float bound = (half ? 4.0F / 2048.0F : 0.0F) + scores + 64.0F * kUnit;
    for (const std::int64_t step : {rows, 7, 1}) {
        if (step > rows || (step == 1 && rows > 31)) continue;
        const float difference = largestDifference(attendInSteps(*backend, test, step), expected);
        QVERIFY2(difference <= bound, qPrintable(QString("%1 > %2").arg(difference).arg(bound)));
    }
}

void TestOpenClKernels::elementwiseStepsAgree() {
    constexpr std::int64_t kWidth = 77;
    constexpr std::int64_t kRows = 3;
    const auto reference = createReferenceBackend();
    for (const Target& target : m_targets) {
        const auto backend = open(target);
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
        // Values below 30: a few roundings each, and OpenCL's exp is within 4 units.
        QVERIFY2(largestDifference(results[0], results[1]) <= 30.0F * 16.0F * kUnit,
                 target.name.c_str());
    }
}

void TestOpenClKernels::siluOfExtremesStaysFinite() {
    for (const Target& target : m_targets) {
        const auto backend = open(target);
        const std::vector<float> extremes{-1e30F, -500.0F, -104.0F, 0.0F, 90.0F, 500.0F};
        const auto gate = bufferOf(*backend, extremes);
        const auto up = bufferOf(*backend, std::vector<float>(extremes.size(), 1.0F));
        const auto count = static_cast<std::int64_t>(extremes.size());
        backend->swiglu(*gate, *up, count, 1);
        const auto out = readAll(*backend, *gate, count);
        QVERIFY(std::isfinite(out[0]) && std::isfinite(out[1]) && std::abs(out[2]) < 1e-6F);
        QCOMPARE(out[3], 0.0F);
        QCOMPARE(out[4], 90.0F);
        QCOMPARE(out[5], 500.0F);
    }
}

void TestOpenClKernels::precisionConversionRoundsOnce() {
    const auto values = randomValues(7 * 19, 31, 1.0F);
    const auto weights = tensorOf("w", {7, 19}, DType::F32, values);
    for (const Target& target : m_targets) {
        const auto backend = open(target);
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
        for (const Precision precision : {Precision::Q8, Precision::Q4}) {
            const auto reference = createReferenceBackend();
            std::vector<float> results[2];
            Backend* const both[] = {backend.get(), reference.get()};
            for (int side = 0; side < 2; ++side) {
                auto table = both[side]->loadMatrix(weights, precision, {});
                QVERIFY(table.ok());
                const auto embedded = bufferOf(*both[side], std::vector<float>(3 * 19));
                both[side]->embed(*table.value(), tokens, *embedded);
                results[side] = readAll(*both[side], *embedded, 3 * 19);
            }
            QVERIFY(largestDifference(results[0], results[1]) <= 16.0F * kUnit);
        }
    }
}

QTEST_GUILESS_MAIN(TestOpenClKernels)
#include "test_opencl_kernels.moc"
