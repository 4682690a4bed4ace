// bf16 in 12 bits: every bit comes back, and products are those of the file's rows to the bit, for every
// instruction set of this machine.
#include <QtTest>
#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/weight_loading.h"
#include "tests/support/tensors.h"

using namespace qllama;
using namespace qllama::test;

namespace {

using Bits = std::vector<std::uint16_t>;

constexpr std::uint16_t kInfinity = 0x7F80;
constexpr std::uint16_t kNaN = 0xFFC1;
constexpr std::uint16_t kMinusZero = 0x8000;
constexpr std::uint16_t kSmallest = 0x0001;

CatalogTensor tensorOfBits(std::int64_t rows, std::int64_t columns, const Bits& bits) {
    CatalogTensor tensor = tensorOf("w", {rows, columns}, DType::BF16,
                                    std::vector<float>(static_cast<std::size_t>(rows * columns)));
    auto bytes = std::make_shared<std::vector<std::byte>>(bits.size() * 2);
    std::memcpy(bytes->data(), bits.data(), bytes->size());
    tensor.parts.front().storage = {*bytes, bytes, nullptr};
    return tensor;
}

Bits normalBits(std::int64_t count, float scale) {
    Bits bits;
    for (const float value : randomValues(count, 5, scale))
        bits.push_back(floatToBfloat16(value));
    return bits;
}

// Normal rows of different sizes, in which some weights are far too small or large for the others.
Bits rowsWithExceptions(std::int64_t rows, std::int64_t columns) {
    Bits bits = normalBits(rows * columns, 1);
    const auto at = [&](std::int64_t row, std::int64_t column) -> std::uint16_t& {
        return bits[static_cast<std::size_t>(row * columns + column)];
    };
    for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t column = 0; column < columns; ++column)
            at(row, column) = floatToBfloat16(
                std::ldexp(bfloat16ToFloat(at(row, column)), static_cast<int>(row % 40) - 20));
    const float strange[] = {0.0F, 1e-30F, -3e-6F, 2e4F, -0.0F, 1e-39F};
    for (std::int64_t row = 0; row < rows; row += 3)
        at(row, row * 7 % columns) = floatToBfloat16(strange[row / 3 % 6]);
    if (rows > 5) std::fill_n(bits.begin() + 4 * columns, columns, std::uint16_t{0});
    if (rows > 5) at(5, columns - 1) = at(5, 0) = 0;
    return bits;
}

// Tells zero from minus zero; every number that is none is like every other.
bool sameBits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::ranges::equal(a, b, [](float left, float right) {
        return (std::isnan(left) && std::isnan(right)) ||
               std::bit_cast<std::uint32_t>(left) == std::bit_cast<std::uint32_t>(right);
    });
}

std::vector<float> product(int threads, const CatalogTensor& weights, Precision precision,
                           const std::vector<float>& x, std::int64_t n) {
    const auto backend = cpu::createCpuBackend(threads);
    auto matrix = backend->loadMatrix(weights, precision, {});
    auto in = backend->createBuffer(static_cast<std::int64_t>(x.size()));
    auto out = backend->createBuffer(n * weights.shape[0]);
    std::vector<float> result(static_cast<std::size_t>(n * weights.shape[0]), 0.25F);
    if (!matrix.ok() || !backend->write(*in.value(), 0, x).ok()) return {};
    if (!backend->write(*out.value(), 0, result).ok()) return {};
    for (const bool accumulate : {true, false, true}) {
        const MatmulTask tasks[] = {{matrix.value().get(), out.value().get(), accumulate}};
        backend->matmul(tasks, *in.value(), n);
    }
    if (!backend->read(*out.value(), 0, result).ok()) return {};
    return result;
}

std::int64_t sizeOfMatrix(const CatalogTensor& weights) {
    const auto backend = cpu::createCpuBackend(1);
    auto matrix = backend->loadMatrix(weights, Precision::Packed, {});
    return matrix.ok() ? matrix.value()->sizeBytes() : -1;
}

// Row `row` as the backend hands out embeddings.
Bits embeddedRow(Backend& backend, const Matrix& matrix, std::int32_t row) {
    auto out = backend.createBuffer(matrix.columns());
    std::vector<float> values(static_cast<std::size_t>(matrix.columns()));
    backend.embed(matrix, std::span(&row, 1), *out.value());
    if (!backend.read(*out.value(), 0, values).ok()) return {};
    Bits bits;
    for (const float value : values)
        bits.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
    return bits;
}

}  // namespace

class TestPackedRows : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { m_targets = cpu::simdTargetsFound(); }
    void cleanup() { QVERIFY(forceCpuTarget(m_targets.front()).ok()); }
    void everyBitComesBack_data();
    void everyBitComesBack();
    void productsAreThoseOfTheFile_data();
    void productsAreThoseOfTheFile();
    void threadsDoNotMatter();
    void normalWeightsTakeThreeQuarters();
    void rowsThatDoNotPackStayAsTheyAre_data();
    void rowsThatDoNotPackStayAsTheyAre();
    void piecesArePackedAsAWhole();
    void otherTypesStayAsTheyAre();
    void stopEndsPacking();

private:
    std::vector<std::string> m_targets;
};

void TestPackedRows::everyBitComesBack_data() {
    QTest::addColumn<int>("columns");
    for (const int columns : {1, 31, 32, 33, 100, 515, 2048})
        QTest::addRow("%d", columns) << columns;
}

void TestPackedRows::everyBitComesBack() {
    QFETCH(int, columns);
    constexpr int kRows = 45;
    Bits bits = rowsWithExceptions(kRows, columns);
    const auto row = [&](int index) { return bits.begin() + std::ptrdiff_t{index} * columns; };
    *row(7) = kInfinity;
    *row(9) = kNaN;
    *row(10) = kMinusZero;
    *row(12) = kSmallest;
    *row(13) = 0x6F7F;                                       // far larger than the others
    std::fill_n(row(14), columns, std::uint16_t{0x7D7F});    // of the largest exponent for a row
    std::fill_n(row(15), columns, std::uint16_t{0x0080});    // the smallest that is normal
    if (columns > 20) std::fill_n(row(16), 20, kMinusZero);  // in one block
    const CatalogTensor weights = tensorOfBits(kRows, columns, bits);
    for (const std::string& target : m_targets) {
        QVERIFY(forceCpuTarget(target).ok());
        const auto backend = cpu::createCpuBackend(2);
        const auto matrix = backend->loadMatrix(weights, Precision::Packed, {});
        QVERIFY(matrix.ok());
        for (int index = 0; index < kRows; ++index)
            QVERIFY(std::ranges::equal(embeddedRow(*backend, *matrix.value(), index),
                                       std::span(row(index), static_cast<std::size_t>(columns))));
    }
    // As other code reads them, in plain loops.
    ThreadPool pool(2);
    const auto packed = cpu::packTensor(weights, pool, {});
    QVERIFY(packed.ok() && packed.value().isMade());
    for (int index = 0; index < kRows; ++index) {
        std::vector<float> values(static_cast<std::size_t>(columns));
        packed.value().dequantizeRow(index, values);
        for (int column = 0; column < columns; ++column)
            QCOMPARE(std::bit_cast<std::uint32_t>(values[static_cast<std::size_t>(column)]) >> 16,
                     std::uint32_t{row(index)[column]});
    }
}

void TestPackedRows::productsAreThoseOfTheFile_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<int>("rows");
    QTest::addColumn<int>("columns");
    for (const std::string& target : cpu::simdTargetsFound())
        for (const auto& [rows, columns] :
             {std::pair{1, 1}, {3, 7}, {17, 33}, {65, 515}, {40, 1024}})
            QTest::addRow("%s %dx%d", target.c_str(), rows, columns)
                << QString::fromStdString(target) << rows << columns;
}

void TestPackedRows::productsAreThoseOfTheFile() {
    QFETCH(QString, target);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const CatalogTensor weights = tensorOfBits(rows, columns, rowsWithExceptions(rows, columns));
    QCOMPARE(sizeOfMatrix(weights), matrixBytes(Precision::Packed, DType::BF16, rows, columns));
    for (const std::int64_t n : {1, 2, 3, 4, 6, 7, 20, 40, 53}) {
        const auto x = randomValues(n * columns, 8, 1.0F);
        const auto packed = product(1, weights, Precision::Packed, x, n);
        QVERIFY(!packed.empty());
        QVERIFY(sameBits(packed, product(1, weights, Precision::Source, x, n)));
    }
}

void TestPackedRows::threadsDoNotMatter() {
    constexpr std::int64_t kColumns = 1000;
    const CatalogTensor weights = tensorOfBits(333, kColumns, rowsWithExceptions(333, kColumns));
    for (const std::int64_t n : {1, 5, 9, 45}) {
        const auto x = randomValues(n * kColumns, 8, 1.0F);
        const auto one = product(1, weights, Precision::Packed, x, n);
        QCOMPARE(product(2, weights, Precision::Packed, x, n), one);
        QCOMPARE(product(3, weights, Precision::Packed, x, n), one);
    }
}

void TestPackedRows::normalWeightsTakeThreeQuarters() {
    const CatalogTensor weights = tensorOfBits(64, 4096, normalBits(64 * 4096, 0.02F));
    const std::int64_t size = sizeOfMatrix(weights);
    QCOMPARE(size, matrixBytes(Precision::Packed, DType::BF16, 64, 4096));
    // 12 bits a weight; a factor, an end and room for eight exceptions a row.
    QCOMPARE(size, 64 * (4096 * 12 / 8 + 4 + 4 + 8 * 4));
}

void TestPackedRows::rowsThatDoNotPackStayAsTheyAre_data() {
    QTest::addColumn<int>("step");
    QTest::addColumn<int>("bits");
    // As exceptions they would take more than they do in the file.
    QTest::newRow("half of them zeros") << 2 << 0;
    QTest::newRow("one that no float holds divided by the factor") << 48 * 2048 << 0x7F7F;
}

void TestPackedRows::rowsThatDoNotPackStayAsTheyAre() {
    QFETCH(int, step);
    QFETCH(int, bits);
    Bits weightBits = normalBits(48 * 2048, 0.02F);
    for (std::size_t i = 0; i < weightBits.size(); i += static_cast<std::size_t>(step))
        weightBits[i] = static_cast<std::uint16_t>(bits);
    const CatalogTensor weights = tensorOfBits(48, 2048, weightBits);
    QCOMPARE(sizeOfMatrix(weights), 48 * 2048 * 2);
    for (const std::int64_t n : {1, 3}) {
        const auto x = randomValues(n * 2048, 8, 1.0F);
        QVERIFY(sameBits(product(2, weights, Precision::Packed, x, n),
                         product(2, weights, Precision::Source, x, n)));
    }
}

// As the shards of model parallelism hold them.
void TestPackedRows::piecesArePackedAsAWhole() {
    constexpr std::int64_t kRows = 42;
    constexpr std::int64_t kColumns = 100;
    Bits bits = rowsWithExceptions(kRows, kColumns);
    bits[3] = kNaN;
    bits[4] = kInfinity;
    CatalogTensor pieces = tensorOfBits(kRows, kColumns, bits);
    pieces.axis = JoinAxis::Rows;
    pieces.parts.clear();
    for (int half = 0; half < 2; ++half) {
        const Bits own(bits.begin() + half * kRows / 2 * kColumns,
                       bits.begin() + (half + 1) * kRows / 2 * kColumns);
        pieces.parts.push_back(tensorOfBits(kRows / 2, kColumns, own).parts.front());
    }
    const auto backend = cpu::createCpuBackend(2);
    const auto matrix = backend->loadMatrix(pieces, Precision::Packed, {});
    QVERIFY(matrix.ok());
    QCOMPARE(matrix.value()->sizeBytes(),
             matrixBytes(Precision::Packed, DType::BF16, kRows, kColumns));
    for (int row = 0; row < kRows; ++row)
        QVERIFY(std::ranges::equal(
            embeddedRow(*backend, *matrix.value(), row),
            std::span(bits).subspan(static_cast<std::size_t>(row * kColumns), kColumns)));
}

void TestPackedRows::otherTypesStayAsTheyAre() {
    for (const DType dtype : {DType::F16, DType::F32}) {
        const auto values = randomValues(48 * 256, 1, 1.0F);
        QCOMPARE(sizeOfMatrix(tensorOf("w", {48, 256}, dtype, values)), 48 * 256 * sizeOf(dtype));
        QCOMPARE(matrixBytes(Precision::Packed, dtype, 48, 256), 48 * 256 * sizeOf(dtype));
    }
}

void TestPackedRows::stopEndsPacking() {
    std::stop_source stop;
    stop.request_stop();
    const auto backend = cpu::createCpuBackend(2);
    const auto matrix = backend->loadMatrix(tensorOfBits(64, 64, normalBits(64 * 64, 1)),
                                            Precision::Packed, stop.get_token());
    QVERIFY(!matrix.ok());
    QCOMPARE(matrix.error().code, ErrorCode::Cancelled);
}

QTEST_GUILESS_MAIN(TestPackedRows)
#include "test_packed_rows.moc"
