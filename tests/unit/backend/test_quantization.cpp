// The quantised formats: how far weights move, and products against plain loops over the same
// rounded weights, for every instruction set of this machine.
#include <QtTest>
#include <cmath>
#include <limits>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/weight_loading.h"
#include "engine/backend/reference/reference_backend.h"
#include "tests/support/difference.h"
#include "tests/support/tensors.h"

using namespace qllama;
using namespace qllama::test;

namespace {

constexpr Precision kQuantised[] = {Precision::Q8, Precision::Q4};

std::vector<float> product(Backend& backend, const CatalogTensor& weights, Precision precision,
                           const std::vector<float>& x, std::int64_t n) {
    auto matrix = backend.loadMatrix(weights, precision, {});
    auto in = backend.createBuffer(static_cast<std::int64_t>(x.size()));
    auto out = backend.createBuffer(n * weights.shape[0]);
    std::vector<float> result(static_cast<std::size_t>(n * weights.shape[0]));
    if (!matrix.ok() || !backend.write(*in.value(), 0, x).ok()) return {};
    const MatmulTask tasks[] = {{matrix.value().get(), out.value().get(), false}};
    backend.matmul(tasks, *in.value(), n);
    if (!backend.read(*out.value(), 0, result).ok()) return {};
    return result;
}

std::vector<std::vector<float>> dequantised(const CatalogTensor& weights, BlockFormat format) {
    ThreadPool pool = std::move(ThreadPool::start(2)).value();
    auto matrix = cpu::quantizeTensor(weights, format, pool, {});
    std::vector<std::vector<float>> rows;
    for (std::int64_t row = 0; row < weights.shape[0]; ++row) {
        rows.emplace_back(static_cast<std::size_t>(weights.shape[1]));
        matrix.value().dequantizeRow(row, rows.back());
    }
    return rows;
}

}  // namespace

class TestQuantization : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { m_targets = cpu::simdTargetsFound(); }
    void cleanup() { QVERIFY(forceCpuTarget(m_targets.front()).ok()); }
    void weightsStayWithinHalfAStep();
    void fourBitsBeatPlainRounding();
    void constantAndZeroRowsAreExact();
    void smallBlocksBesideLargeOnesAreNotLost();
    void sizesAreWhatTheFormatSays();
    void productsAgreeWithPlainLoop_data();
    void productsAgreeWithPlainLoop();
    void everyTargetGivesTheSameTiles();
    void stopEndsQuantisation();

private:
    std::vector<std::string> m_targets;
};

void TestQuantization::weightsStayWithinHalfAStep() {
    const auto values = randomValues(19 * 77, 1, 1.0F);
    const auto weights = tensorOf("w", {19, 77}, DType::F32, values);
    for (const BlockFormatInfo& info : quantizedFormats()) {
        const auto rows = dequantised(weights, info.format);
        for (std::size_t row = 0; row < rows.size(); ++row)
            for (std::size_t start = 0; start < 77; start += 32) {
                const std::size_t end = std::min<std::size_t>(77, start + 32);
                float low = 0, high = 0, largest = 0;
                for (std::size_t k = start; k < end; ++k) {
                    const float value = values[row * 77 + k];
                    low = std::min(low, value);
                    high = std::max(high, value);
                    largest = std::max(largest, std::abs(value));
                }
                const float error =
                    largestDifference(std::span(values).subspan(row * 77 + start, end - start),
                                      std::span(rows[row]).subspan(start, end - start));
                // q8: half of max / 127, and the scale in f16. q4: a fit may leave out up to 30 % of
                // the range, and half of a step remains inside.
                const float bound = info.format == BlockFormat::Q8
                                        ? largest * (0.5F / 127.0F + 1.0F / 1024.0F)
                                        : (high - low) * (0.15F + 0.5F / 15.0F) + largest * 0.01F;
                QVERIFY2(error <= bound, qPrintable(QString("%1 > %2").arg(error).arg(bound)));
            }
    }
}

void TestQuantization::fourBitsBeatPlainRounding() {
    // The usual 4 bits at the same size: one f16 scale a block, the largest value at -8.
    constexpr std::int64_t kRows = 32;
    constexpr std::int64_t kColumns = 512;
    const auto values = randomValues(kRows * kColumns, 3, 1.0F);
    const auto rows =
        dequantised(tensorOf("w", {kRows, kColumns}, DType::F32, values), BlockFormat::Q4);
    double plain = 0;
    double ours = 0;
    for (std::size_t block = 0; block < values.size(); block += 32) {
        float extreme = 0;
        for (std::size_t k = block; k < block + 32; ++k)
            if (std::abs(values[k]) > std::abs(extreme)) extreme = values[k];
        const float scale = halfToFloat(floatToHalf(extreme / -8.0F));
        for (std::size_t k = block; k < block + 32; ++k) {
            const float q = std::clamp(std::round(values[k] / scale), -8.0F, 7.0F);
            plain += std::pow(values[k] - q * scale, 2);
            ours += std::pow(values[k] - rows[k / kColumns][k % kColumns], 2);
        }
    }
    QVERIFY2(ours < 0.85 * plain, qPrintable(QString::number(ours / plain)));
}

void TestQuantization::constantAndZeroRowsAreExact() {
    std::vector<float> values(3 * 64, 0.0F);
    std::fill(values.begin() + 64, values.begin() + 128, 0.5F);
    const auto weights = tensorOf("w", {3, 64}, DType::F32, values);
    for (const BlockFormatInfo& info : quantizedFormats()) {
        const auto rows = dequantised(weights, info.format);
        for (std::size_t k = 0; k < 64; ++k) {
            QCOMPARE(rows[0][k], 0.0F);
            QVERIFY(std::abs(rows[1][k] - 0.5F) <= 0.5F / 1024.0F);
            QCOMPARE(rows[2][k], 0.0F);
        }
    }
}

// All blocks of a row share a factor, whose steps the largest one wants large.
void TestQuantization::smallBlocksBesideLargeOnesAreNotLost() {
    for (const float small : {0.005F, 0.003F, 0.002F}) {
        std::vector<float> values(64, 1.0F);
        for (std::size_t k = 32; k < 64; ++k)
            values[k] = k % 2 == 0 ? small : -small;
        const auto rows = dequantised(tensorOf("w", {1, 64}, DType::F32, values), BlockFormat::Q4);
        for (std::size_t k = 32; k < 64; ++k)
            QVERIFY2(std::abs(rows[0][k] - values[k]) <= 0.25F * small,
                     qPrintable(QString("%1 for %2").arg(rows[0][k]).arg(values[k])));
    }
}

void TestQuantization::sizesAreWhatTheFormatSays() {
    QCOMPARE(matrixBytes(Precision::Q8, DType::F16, 4096, 4096), 4096 * 4096 / 32 * 34);
    QCOMPARE(matrixBytes(Precision::Q4, DType::F16, 4096, 4096), 4096 * 4096 / 32 * 18 + 4096 * 4);
    QCOMPARE(matrixBytes(Precision::Q8, DType::F16, 1, 1), 16 * 34);
}

void TestQuantization::productsAgreeWithPlainLoop_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<int>("precision");
    QTest::addColumn<int>("rows");
    QTest::addColumn<int>("columns");
    QTest::addColumn<int>("n");
    const int shapes[][3] = {{1, 1, 1},    {3, 7, 2},    {17, 33, 5},
                             {64, 256, 1}, {65, 515, 9}, {31, 96, 40}};
    for (const std::string& target : cpu::simdTargetsFound())
        for (const Precision precision : kQuantised)
            for (const auto& s : shapes)
                QTest::addRow("%s %s %dx%d n=%d", target.c_str(),
                              std::string(keyOf(precision)).c_str(), s[0], s[1], s[2])
                    << QString::fromStdString(target) << static_cast<int>(precision) << s[0] << s[1]
                    << s[2];
}

void TestQuantization::productsAgreeWithPlainLoop() {
    QFETCH(QString, target);
    QFETCH(int, precision);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QFETCH(int, n);
    const auto kind = static_cast<Precision>(precision);
    const auto weights =
        tensorOf("w", {rows, columns}, DType::F32, randomValues(rows * columns, 7, 1.0F));
    const auto x = randomValues(std::int64_t{n} * columns, 8, 1.0F);
    const auto reference = createReferenceBackend();
    const auto expected = product(*reference, weights, kind, x, n);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const auto one = std::move(cpu::createCpuBackend(1)).value();
    const auto together = product(*one, weights, kind, x, n);
    QCOMPARE(together.size(), expected.size());
    // Activations below 3.5 in 127 steps: each product is off by at most half a step of 3.5 / 127,
    // times a weight of at most 3.5.
    const float bound = 3.5F * 3.5F * 0.5F / 127.0F * static_cast<float>(columns);
    const float largest = largestDifference(together, expected);
    double squares = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
        squares += std::pow(together[i] - expected[i], 2);
    QVERIFY2(largest <= bound, qPrintable(QString("%1 > %2").arg(largest).arg(bound)));
    // Rounding is uniform, so the typical error is far smaller: step / sqrt(12) * sqrt(columns).
    const double typical = 3.5 / 127 / std::sqrt(12.0) * std::sqrt(static_cast<double>(columns));
    QVERIFY(std::sqrt(squares / static_cast<double>(expected.size())) <= 3 * typical);

    for (const int threads : {2, 3}) {
        const auto backend = std::move(cpu::createCpuBackend(threads)).value();
        QCOMPARE(product(*backend, weights, kind, x, n), together);
    }
    for (int i = 0; i < n; ++i) {
        const std::vector<float> row(x.begin() + std::int64_t{i} * columns,
                                     x.begin() + std::int64_t{i + 1} * columns);
        const std::vector<float> part(together.begin() + std::int64_t{i} * rows,
                                      together.begin() + std::int64_t{i + 1} * rows);
        QCOMPARE(product(*one, weights, kind, row, 1), part);
    }
}

void TestQuantization::everyTargetGivesTheSameTiles() {
    const auto isFused = [](const std::string& target) { return target.starts_with("AVX"); };
    const auto weights = tensorOf("w", {33, 100}, DType::F16, randomValues(3300, 9, 1.0F));
    for (const BlockFormatInfo& info : quantizedFormats()) {
        QVERIFY(forceCpuTarget(m_targets.front()).ok());
        const auto expected = dequantised(weights, info.format);
        for (const std::string& target : m_targets) {
            QVERIFY(forceCpuTarget(target).ok());
            const auto rows = dequantised(weights, info.format);
            // q4: without fused multiply-add a tie may fall to the neighbouring step.
            if (info.format == BlockFormat::Q8 || isFused(target) == isFused(m_targets.front()))
                QCOMPARE(rows, expected);
            for (std::size_t row = 0; row < rows.size(); ++row)
                for (std::size_t k = 0; k < rows[row].size(); ++k)
                    QVERIFY(std::abs(rows[row][k] - expected[row][k]) < 0.5F);
        }
    }
}

void TestQuantization::stopEndsQuantisation() {
    std::stop_source stop;
    stop.request_stop();
    const auto weights = tensorOf("w", {64, 64}, DType::F32, randomValues(64 * 64, 1, 1.0F));
    for (const Precision precision : kQuantised) {
        const auto backend = std::move(cpu::createCpuBackend(2)).value();
        const auto matrix = backend->loadMatrix(weights, precision, stop.get_token());
        QVERIFY(!matrix.ok());
        QCOMPARE(matrix.error().code, ErrorCode::Cancelled);
    }
}

QTEST_GUILESS_MAIN(TestQuantization)
#include "test_quantization.moc"
