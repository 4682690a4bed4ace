// The products of quantised tiles against a plain loop over the bytes that quant_format.h describes:
// every instruction set has to give its very bits, also where all weights and activations are as
// large as they can be.
#include <QtTest>
#include <algorithm>
#include <cmath>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/kernels/quant_kernels.h"
#include "engine/backend/cpu/weight_loading.h"
#include "tests/support/tensors.h"

using namespace qllama;
using namespace qllama::test;

namespace {

float multiplyAdd(bool fused, float a, float b, float c) {
    return fused ? std::fma(a, b, c) : a * b + c;
}

std::int32_t weightOf(const QuantizedMatrix& weights, const std::byte* groups, std::int64_t row,
                      std::int64_t k) {
    const bool isHigh = weights.format == QuantFormat::Q4 && k >= kBlockColumns / 2;
    const std::int64_t stored = isHigh ? k - kBlockColumns / 2 : k;
    const std::byte bits =
        groups[stored / kGroupColumns * kGroupBytes + row * kGroupColumns + stored % kGroupColumns];
    if (weights.format == QuantFormat::Q8) return static_cast<std::int8_t>(bits);
    return std::to_integer<std::int32_t>(isHigh ? bits >> 4 : bits & std::byte{15});
}

float productOf(const QuantizedMatrix& weights, std::int64_t row,
                const cpu::QuantizedActivations& activations, std::int64_t token, bool fused) {
    const std::byte* tile = weights.tiles + row / kTileRows * weights.tileBytes();
    const std::int64_t inTile = row % kTileRows;
    float sum = 0;
    float minimumSum = 0;
    for (std::int64_t b = 0; b < activations.blocks; ++b) {
        const std::byte* block = tile + b * infoOf(weights.format).blockBytes;
        const auto index = static_cast<std::size_t>(activations.place(token, b));
        std::int32_t total = 0;
        for (std::int64_t k = 0; k < kBlockColumns; ++k)
            total += weightOf(weights, block + kTileRows * 2, inTile, k) *
                     activations.values[static_cast<std::size_t>(
                         activations.groupPlace(token, b, k / kGroupColumns) + k % kGroupColumns)];
        float scale = std::to_integer<int>(block[inTile]);
        if (weights.format == QuantFormat::Q8) {
            std::uint16_t half;
            std::memcpy(&half, block + inTile * 2, sizeof half);
            scale = halfToFloat(half);
        } else {
            const float minimum = static_cast<std::int8_t>(block[kTileRows + inTile]);
            minimumSum = multiplyAdd(fused, minimum, activations.scaledSums[index], minimumSum);
        }
        sum = multiplyAdd(fused, scale * activations.scales[index], static_cast<float>(total), sum);
    }
    if (weights.format == QuantFormat::Q8) return sum;
    return multiplyAdd(fused, weights.rowFactors[row * 2], sum,
                       weights.rowFactors[row * 2 + 1] * minimumSum);
}

constexpr std::int64_t kRows = 39;
constexpr std::int64_t kColumns = 5 * kBlockColumns + 7;

// Rows of 1 and -1, which round to the largest steps, so that the sums grow as large as they can: the
// signs of a block's columns take turns, are all alike, or one differs, and every second row is the
// negative of the one before. `alike` makes those of the first three blocks alike.
std::vector<float> extremes(std::int64_t rows, bool alike) {
    std::vector<float> values;
    for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t column = 0; column < kColumns; ++column) {
            const std::int64_t block = column / kBlockColumns;
            const std::int64_t kind = alike && block < 3 ? 1 : block % 3;
            const bool turned = kind == 0 ? column % 2 == 0 : kind == 2 && column % 32 == 5;
            values.push_back(turned == (row % 2 == 0) ? -1.0F : 1.0F);
        }
    return values;
}

}  // namespace

class TestQuantKernels : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { m_targets = cpu::simdTargetsFound(); }
    void cleanup() { QVERIFY(forceCpuTarget(m_targets.front()).ok()); }
    void activationsAreRoundedToTheNearest_data();
    void activationsAreRoundedToTheNearest();
    void productsHaveTheBitsOfThePlainLoop_data();
    void productsHaveTheBitsOfThePlainLoop();

private:
    std::vector<std::string> m_targets;
};

void TestQuantKernels::activationsAreRoundedToTheNearest_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<int>("tokens");
    for (const std::string& target : m_targets)
        for (const int tokens : {1, 2, 13, 24})
            QTest::addRow("%s n=%d", target.c_str(), tokens)
                << QString::fromStdString(target) << tokens;
}

void TestQuantKernels::activationsAreRoundedToTheNearest() {
    QFETCH(QString, target);
    QFETCH(int, tokens);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    auto x = randomValues(tokens * kColumns, 3, 1.0F);
    const auto blockOf = [&](std::int64_t token, std::int64_t block) {
        std::vector<float> values(kBlockColumns);
        for (std::int64_t k = 0; k < kBlockColumns && block * kBlockColumns + k < kColumns; ++k)
            values[static_cast<std::size_t>(k)] =
                x[static_cast<std::size_t>(token * kColumns + block * kBlockColumns + k)];
        return values;
    };
    for (std::size_t column = 0; column < kBlockColumns; ++column)
        x[column] *= 1e-38F;  // so small that 127 over it is no number
    cpu::QuantizedActivations activations;
    cpu::resizeActivations(activations, tokens, kColumns);
    cpu::roundTokens(x.data(), kColumns, 0, tokens, activations);
    for (std::int64_t token = 0; token < tokens; ++token)
        for (std::int64_t block = 0; block < activations.blocks; ++block) {
            const auto values = blockOf(token, block);
            float largest = 0;
            for (const float value : values)
                largest = std::max(largest, std::abs(value));
            const bool isTiny = token == 0 && block == 0;
            std::int32_t sum = 0;
            for (std::int64_t k = 0; k < kBlockColumns; ++k) {
                const float steps =
                    isTiny ? 0 : values[static_cast<std::size_t>(k)] * (127.0F / largest);
                const auto rounded = static_cast<std::int32_t>(std::nearbyint(steps));
                const std::int64_t place = activations.groupPlace(token, block, k / kGroupColumns);
                QCOMPARE(
                    std::int32_t{
                        activations.values[static_cast<std::size_t>(place + k % kGroupColumns)]},
                    rounded);
                sum += rounded;
            }
            const auto place = static_cast<std::size_t>(activations.place(token, block));
            QCOMPARE(activations.scales[place], largest / 127.0F);
            QCOMPARE(activations.scaledSums[place], largest / 127.0F * static_cast<float>(sum));
            QCOMPARE(activations.starts[place], -128 * sum);
        }
}

void TestQuantKernels::productsHaveTheBitsOfThePlainLoop_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<int>("format");
    QTest::addColumn<int>("tokens");
    QTest::addColumn<bool>("extreme");
    for (const std::string& target : cpu::simdTargetsFound())
        for (const QuantFormatInfo& info : quantFormats())
            for (const int tokens : {1, 3, 4, 8, 12, 29})
                for (const bool extreme : {false, true})
                    QTest::addRow("%s %s n=%d %s", target.c_str(), std::string(info.key).c_str(),
                                  tokens, extreme ? "extreme" : "random")
                        << QString::fromStdString(target) << static_cast<int>(info.format) << tokens
                        << extreme;
}

void TestQuantKernels::productsHaveTheBitsOfThePlainLoop() {
    QFETCH(QString, target);
    QFETCH(int, format);
    QFETCH(int, tokens);
    QFETCH(bool, extreme);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const auto tensor =
        tensorOf("w", {kRows, kColumns}, DType::F32,
                 extreme ? extremes(kRows, false) : randomValues(kRows * kColumns, 1, 1.0F));
    const auto x = extreme ? extremes(tokens, true) : randomValues(tokens * kColumns, 2, 1.0F);
    ThreadPool pool(1);
    const auto matrix = cpu::quantizeTensor(tensor, static_cast<QuantFormat>(format), pool, {});
    QVERIFY(matrix.ok());
    const QuantizedMatrix& weights = matrix.value();
    cpu::QuantizedActivations activations;
    cpu::resizeActivations(activations, tokens, kColumns);
    cpu::roundTokens(x.data(), kColumns, 0, tokens, activations);

    std::vector<float> out(static_cast<std::size_t>(tokens * kRows));
    cpu::multiplyTiles(weights, 0, weights.tileCount(), activations, tokens, out.data(), kRows,
                       false);
    const bool fused = target.startsWith("AVX");
    std::vector<float> expected;
    for (int token = 0; token < tokens; ++token)
        for (std::int64_t row = 0; row < kRows; ++row)
            expected.push_back(productOf(weights, row, activations, token, fused));
    QCOMPARE(out, expected);
}

QTEST_GUILESS_MAIN(TestQuantKernels)
#include "test_quant_kernels.moc"
