// The products of quantised tiles against a plain loop over the bytes that block_format.h describes:
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

std::int32_t weightOf(const BlockMatrix& weights, const std::byte* groups, std::int64_t row,
                      std::int64_t k) {
    const bool isHigh = weights.format == BlockFormat::Q4 && k >= kBlockColumns / 2;
    const std::int64_t stored = isHigh ? k - kBlockColumns / 2 : k;
    const std::byte bits =
        groups[stored / kGroupColumns * kGroupBytes + row * kGroupColumns + stored % kGroupColumns];
    if (weights.format == BlockFormat::Q8) return static_cast<std::int8_t>(bits);
    return std::to_integer<std::int32_t>(isHigh ? bits >> 4 : bits & std::byte{15}) - kMiddleStep;
}

// The exact sum of a block; q4's weights are whole steps of the row's factor.
std::int32_t blockSumOf(const BlockMatrix& weights, const std::byte* block, std::int64_t row,
                        const cpu::QuantizedActivations& activations, std::int64_t token,
                        std::int64_t index) {
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < kBlockColumns; ++k) {
        std::int32_t weight = weightOf(weights, block + kTileRows * 2, row, k);
        if (weights.format == BlockFormat::Q4)
            weight = std::to_integer<int>(block[row]) * weight +
                     8 * static_cast<std::int8_t>(block[kTileRows + row]);
        sum += weight *
               activations.values[static_cast<std::size_t>(
                   activations.groupPlace(token, index, k / kGroupColumns) + k % kGroupColumns)];
    }
    return sum;
}

float productOf(const BlockMatrix& weights, std::int64_t row,
                const cpu::QuantizedActivations& activations, std::int64_t token, bool fused) {
    const std::byte* tile = weights.tiles + row / kTileRows * weights.tileBytes();
    const std::int64_t inTile = row % kTileRows;
    float sum = 0;
    float pair = 0;
    std::int32_t wholePair = 0;
    for (std::int64_t b = 0; b < activations.blocks; ++b) {
        const std::byte* block = tile + b * infoOf(weights.format).blockBytes;
        const std::int32_t exact = blockSumOf(weights, block, inTile, activations, token, b);
        if (weights.format == BlockFormat::Q8) {
            std::uint16_t scale;
            std::memcpy(&scale, block + inTile * 2, sizeof scale);
            pair = multiplyAdd(fused, halfToFloat(scale), static_cast<float>(exact),
                               b % 2 == 0 ? 0.0F : pair);
        } else {
            wholePair = exact + (b % 2 == 0 ? 0 : wholePair);
            pair = static_cast<float>(wholePair);
        }
        if (b % 2 == 0 && b + 1 < activations.blocks) continue;
        const auto place = static_cast<std::size_t>(activations.pairPlace(token, b / 2));
        sum = multiplyAdd(fused, activations.scales[place], pair, sum);
    }
    return weights.format == BlockFormat::Q8 ? sum : sum * weights.rowFactors[row];
}

constexpr std::int64_t kRows = 39;
constexpr std::int64_t kColumns = 6 * kBlockColumns + 7;

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

// Gives the blocks of q4 the largest scale, and middles on the same side as most of their values or on the
// other.
void takeLargestSteps(std::vector<std::byte>& tiles) {
    const std::int64_t size = infoOf(BlockFormat::Q4).blockBytes;
    for (std::size_t block = 0; block < tiles.size(); block += static_cast<std::size_t>(size))
        for (std::size_t row = 0; row < kTileRows; ++row) {
            tiles[block + row] = std::byte{255};
            tiles[block + kTileRows + row] = static_cast<std::byte>(row % 4 < 2 ? 127 : -127);
        }
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
    // Of a block, or of a block and the one that has its scale.
    const auto valuesOf = [&](std::int64_t token, std::int64_t first, std::int64_t count) {
        std::vector<float> values(static_cast<std::size_t>(count));
        for (std::int64_t k = 0; k < count && first + k < kColumns; ++k)
            values[static_cast<std::size_t>(k)] =
                x[static_cast<std::size_t>(token * kColumns + first + k)];
        return values;
    };
    for (std::size_t column = 0; column < kRoundedColumns; ++column)
        x[column] *= 1e-38F;  // so small that 127 over it is no number
    cpu::QuantizedActivations activations;
    cpu::resizeActivations(activations, tokens, kColumns);
    cpu::roundTokens(x.data(), kColumns, 0, tokens, activations);
    for (std::int64_t token = 0; token < tokens; ++token)
        for (std::int64_t block = 0; block < activations.blocks; ++block) {
            float largest = 0;
            for (const float value : valuesOf(token, block / 2 * kRoundedColumns, kRoundedColumns))
                largest = std::max(largest, std::abs(value));
            const auto values = valuesOf(token, block * kBlockColumns, kBlockColumns);
            const bool isTiny = token == 0 && block < 2;
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
            QCOMPARE(activations.starts[place], -128 * sum);
            QCOMPARE(static_cast<std::int16_t>(activations.nibbleStarts[place]), -8 * sum);
            const auto pair = static_cast<std::size_t>(activations.pairPlace(token, block / 2));
            QCOMPARE(activations.scales[pair], largest / 127.0F);
            QCOMPARE(static_cast<std::int16_t>(activations.pairSums[pair] >> (16 * (block % 2))),
                     8 * sum);
        }
}

void TestQuantKernels::productsHaveTheBitsOfThePlainLoop_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<int>("format");
    QTest::addColumn<int>("tokens");
    QTest::addColumn<QString>("values");
    for (const std::string& target : cpu::simdTargetsFound())
        for (const BlockFormatInfo& info : quantizedFormats())
            for (const int tokens : {1, 2, 3, 4, 8, 11, 12, 14, 29})
                for (const char* values : {"random", "extreme", "largest steps"})
                    QTest::addRow("%s %s n=%d %s", target.c_str(), std::string(info.key).c_str(),
                                  tokens, values)
                        << QString::fromStdString(target) << static_cast<int>(info.format) << tokens
                        << values;
}

void TestQuantKernels::productsHaveTheBitsOfThePlainLoop() {
    QFETCH(QString, target);
    QFETCH(int, format);
    QFETCH(int, tokens);
    QFETCH(QString, values);
    const bool extreme = values != "random";
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const auto tensor =
        tensorOf("w", {kRows, kColumns}, DType::F32,
                 extreme ? extremes(kRows, false) : randomValues(kRows * kColumns, 1, 1.0F));
    const auto x = extreme ? extremes(tokens, true) : randomValues(tokens * kColumns, 2, 1.0F);
    ThreadPool pool = std::move(ThreadPool::start(1)).value();
    const auto matrix = cpu::quantizeTensor(tensor, static_cast<BlockFormat>(format), pool, {});
    QVERIFY(matrix.ok());
    BlockMatrix weights = matrix.value();
    std::vector<std::byte> tiles(weights.tiles, weights.tiles + weights.tilesBytes());
    if (values == "largest steps" && weights.format == BlockFormat::Q4) takeLargestSteps(tiles);
    weights.tiles = tiles.data();
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
