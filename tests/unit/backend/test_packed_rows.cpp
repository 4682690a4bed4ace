// bf16 in 12 bits and f16 in 15: every bit comes back, and products are those of the file's rows to the bit, for
// every instruction set of this machine.
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

constexpr std::uint16_t kMinusZero = 0x8000;
constexpr std::uint16_t kSmallest = 0x0001;

// What differs between the two kinds of 16-bit floats.
struct Kind {
    DType dtype;
    BlockFormat format;
    float (*toFloat)(std::uint16_t);
    std::uint16_t (*toBits)(float);
    std::uint16_t infinity;
    std::uint16_t notANumber;
    std::int64_t bits;           // packed
    std::int64_t factors;        // bytes a row
    int largestExponent;         // of rows that are packed
    std::vector<float> strange;  // exceptions, and weights that nearly are
};

const Kind kBf16{DType::BF16,
                 BlockFormat::PackedBf16,
                 bfloat16ToFloat,
                 floatToBfloat16,
                 0x7F80,
                 0xFFC1,
                 12,
                 4,
                 20,
                 {0.0F, 1e-30F, -3e-6F, 2e4F, -0.0F, 1e-39F}};
const Kind kF16{DType::F16,  BlockFormat::PackedF16,
                halfToFloat, floatToHalf,
                0x7C00,      0xFE01,
                15,          0,
                -3,          {0.0F, 2.0F, -65504.0F, -1.999F, -0.0F, 6e-8F}};

const Kind& kindOf(DType dtype) {
    return dtype == DType::BF16 ? kBf16 : kF16;
}

CatalogTensor tensorOfBits(const Kind& kind, std::int64_t rows, std::int64_t columns,
                           const Bits& bits) {
    CatalogTensor tensor = tensorOf("w", {rows, columns}, kind.dtype,
                                    std::vector<float>(static_cast<std::size_t>(rows * columns)));
    auto bytes = std::make_shared<std::vector<std::byte>>(bits.size() * 2);
    std::memcpy(bytes->data(), bits.data(), bytes->size());
    tensor.parts.front().storage = {*bytes, bytes, nullptr};
    return tensor;
}

Bits normalBits(const Kind& kind, std::int64_t count, float scale) {
    Bits bits;
    for (const float value : randomValues(count, 5, scale))
        bits.push_back(kind.toBits(value));
    return bits;
}

// Normal rows of different sizes, in which some weights are far too small or large for the others.
Bits rowsWithExceptions(const Kind& kind, std::int64_t rows, std::int64_t columns) {
    Bits bits = normalBits(kind, rows * columns, 1);
    const auto at = [&](std::int64_t row, std::int64_t column) -> std::uint16_t& {
        return bits[static_cast<std::size_t>(row * columns + column)];
    };
    for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t column = 0; column < columns; ++column)
            at(row, column) = kind.toBits(std::ldexp(
                kind.toFloat(at(row, column)), kind.largestExponent - static_cast<int>(row % 40)));
    for (std::int64_t row = 0; row < rows; row += 3)
        at(row, row * 7 % columns) =
            kind.toBits(kind.strange[static_cast<std::size_t>(row / 3 % 6)]);
    if (rows > 5) std::fill_n(bits.begin() + 4 * columns, columns, std::uint16_t{0});
    if (rows > 5) at(5, columns - 1) = at(5, 0) = 0;
    if (rows > 7 && columns > 512)  // f16: the last block of a group, and one before it
        at(7, 5) = at(7, 490) = kind.toBits(kind.strange[2]);
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
    const auto backend = std::move(cpu::createCpuBackend(threads)).value();
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
    const auto backend = std::move(cpu::createCpuBackend(1)).value();
    auto matrix = backend->loadMatrix(weights, Precision::Packed, {});
    return matrix.ok() ? matrix.value()->sizeBytes() : -1;
}

bool areOf(const Kind& kind, const std::vector<float>& values,
           std::span<const std::uint16_t> bits) {
    return std::ranges::equal(values, bits, [&kind](float value, std::uint16_t expected) {
        return std::bit_cast<std::uint32_t>(value) ==
               std::bit_cast<std::uint32_t>(kind.toFloat(expected));
    });
}

// Row `row` as the backend hands out embeddings.
std::vector<float> embeddedRow(Backend& backend, const Matrix& matrix, std::int32_t row) {
    auto out = backend.createBuffer(matrix.columns());
    std::vector<float> values(static_cast<std::size_t>(matrix.columns()));
    backend.embed(matrix, std::span(&row, 1), *out.value());
    if (!backend.read(*out.value(), 0, values).ok()) return {};
    return values;
}

void addKinds() {
    QTest::addColumn<DType>("dtype");
    for (const Kind* kind : {&kBf16, &kF16})
        QTest::addRow("%s", std::string(nameOf(kind->dtype)).c_str()) << kind->dtype;
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
    void threadsDoNotMatter_data() { addKinds(); }
    void threadsDoNotMatter();
    void normalWeightsTakeFewerBits_data() { addKinds(); }
    void normalWeightsTakeFewerBits();
    void rowsThatDoNotPackStayAsTheyAre_data();
    void rowsThatDoNotPackStayAsTheyAre();
    void piecesArePackedAsAWhole_data() { addKinds(); }
    void piecesArePackedAsAWhole();
    void otherTypesStayAsTheyAre();
    void whatWouldNotGetSmallerStaysAsItIs();
    void stopEndsPacking();

private:
    std::vector<std::string> m_targets;
};

void TestPackedRows::everyBitComesBack_data() {
    QTest::addColumn<DType>("dtype");
    QTest::addColumn<int>("columns");
    for (const Kind* kind : {&kBf16, &kF16})
        for (const int columns : {1, 33, 515, 1041, 1539, 1649, 2029, 2048})
            QTest::addRow("%s %d", std::string(nameOf(kind->dtype)).c_str(), columns)
                << kind->dtype << columns;
}

void TestPackedRows::everyBitComesBack() {
    QFETCH(DType, dtype);
    QFETCH(int, columns);
    constexpr int kRows = 47;
    const Kind& kind = kindOf(dtype);
    Bits bits = rowsWithExceptions(kind, kRows, columns);
    const auto row = [&](int index) {
        return std::span(bits).subspan(
            static_cast<std::size_t>(index) * static_cast<std::size_t>(columns),
            static_cast<std::size_t>(columns));
    };
    row(7).front() = kind.infinity;
    row(9).front() = row(9).back() = kind.notANumber;
    row(10).front() = kMinusZero;
    row(12).front() = kSmallest;
    if (dtype == DType::BF16) {
        row(13).front() = 0x6F7F;                           // far larger than the others
        std::ranges::fill(row(14), std::uint16_t{0x7D7F});  // of the largest exponent for a row
        std::ranges::fill(row(15), std::uint16_t{0x0080});  // the smallest that is normal
    } else {
        row(13).back() = 0xC000;                            // -2
        std::ranges::fill(row(14), std::uint16_t{0xBFFF});  // all bits that are packed
        std::ranges::fill(row(15), std::uint16_t{0x03FF});  // the largest that is not normal
    }
    if (columns > 20) std::ranges::fill(row(16).first(20), kMinusZero);  // in one block
    const CatalogTensor weights = tensorOfBits(kind, kRows, columns, bits);
    for (const std::string& target : m_targets) {
        if (!madeFormat(Precision::Packed, dtype, kRows, columns)) break;  // too narrow
        QVERIFY(forceCpuTarget(target).ok());
        const auto backend = std::move(cpu::createCpuBackend(2)).value();
        const auto matrix = backend->loadMatrix(weights, Precision::Packed, {});
        QVERIFY(matrix.ok());
        for (int index = 0; index < kRows; ++index)
            QVERIFY(areOf(kind, embeddedRow(*backend, *matrix.value(), index), row(index)));
    }
    // As other code reads them, in plain loops.
    ThreadPool pool = std::move(ThreadPool::start(2)).value();
    const auto packed = cpu::packTensor(weights, kind.format, pool, {});
    QVERIFY(packed.ok() && packed.value().isMade());
    for (int index = 0; index < kRows; ++index) {
        std::vector<float> values(static_cast<std::size_t>(columns));
        packed.value().dequantizeRow(index, values);
        QVERIFY(areOf(kind, values, row(index)));
    }
}

void TestPackedRows::productsAreThoseOfTheFile_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<DType>("dtype");
    QTest::addColumn<int>("rows");
    QTest::addColumn<int>("columns");
    for (const std::string& target : cpu::simdTargetsFound())
        for (const Kind* kind : {&kBf16, &kF16})
            for (const auto& [rows, columns] :
                 {std::pair{16, 1024}, {16, 1041}, {16, 1539}, {16, 1649}, {31, 2029}})
                QTest::addRow("%s %s %dx%d", target.c_str(),
                              std::string(nameOf(kind->dtype)).c_str(), rows, columns)
                    << QString::fromStdString(target) << kind->dtype << rows << columns;
}

void TestPackedRows::productsAreThoseOfTheFile() {
    QFETCH(QString, target);
    QFETCH(DType, dtype);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const Kind& kind = kindOf(dtype);
    const CatalogTensor weights =
        tensorOfBits(kind, rows, columns, rowsWithExceptions(kind, rows, columns));
    QCOMPARE(sizeOfMatrix(weights), matrixBytes(Precision::Packed, dtype, rows, columns));
    QVERIFY(sizeOfMatrix(weights) < 2 * rows * columns);
    for (const std::int64_t n : {1, 2, 3, 4, 6, 7, 20, 40, 53}) {
        const auto x = randomValues(n * columns, 8, 1.0F);
        const auto packed = product(1, weights, Precision::Packed, x, n);
        QVERIFY(!packed.empty());
        QVERIFY(sameBits(packed, product(1, weights, Precision::Source, x, n)));
    }
}

void TestPackedRows::threadsDoNotMatter() {
    QFETCH(DType, dtype);
    constexpr std::int64_t kColumns = 1041;
    const Kind& kind = kindOf(dtype);
    const CatalogTensor weights =
        tensorOfBits(kind, 333, kColumns, rowsWithExceptions(kind, 333, kColumns));
    for (const std::int64_t n : {1, 5, 9, 45}) {
        const auto x = randomValues(n * kColumns, 8, 1.0F);
        const auto one = product(1, weights, Precision::Packed, x, n);
        QCOMPARE(product(2, weights, Precision::Packed, x, n), one);
        QCOMPARE(product(3, weights, Precision::Packed, x, n), one);
    }
}

void TestPackedRows::normalWeightsTakeFewerBits() {
    QFETCH(DType, dtype);
    const Kind& kind = kindOf(dtype);
    const CatalogTensor weights = tensorOfBits(kind, 64, 4096, normalBits(kind, 64 * 4096, 0.02F));
    const std::int64_t size = sizeOfMatrix(weights);
    QCOMPARE(size, matrixBytes(Precision::Packed, dtype, 64, 4096));
    // A row has an end and room for eight exceptions, too.
    QCOMPARE(size, 64 * (4096 * kind.bits / 8 + kind.factors + 4 + 8 * 4));
}

void TestPackedRows::rowsThatDoNotPackStayAsTheyAre_data() {
    QTest::addColumn<DType>("dtype");
    QTest::addColumn<int>("step");
    QTest::addColumn<int>("bits");
    // As exceptions they would take more than they do in the file.
    QTest::newRow("half of them zeros") << DType::BF16 << 2 << 0;
    QTest::newRow("one that no float holds divided by the factor")
        << DType::BF16 << 48 * 2048 << 0x7F7F;
    QTest::newRow("half of them 2") << DType::F16 << 2 << 0x4000;
}

void TestPackedRows::rowsThatDoNotPackStayAsTheyAre() {
    QFETCH(DType, dtype);
    QFETCH(int, step);
    QFETCH(int, bits);
    const Kind& kind = kindOf(dtype);
    Bits weightBits = normalBits(kind, 48 * 2048, 0.02F);
    for (std::size_t i = 0; i < weightBits.size(); i += static_cast<std::size_t>(step))
        weightBits[i] = static_cast<std::uint16_t>(bits);
    const CatalogTensor weights = tensorOfBits(kind, 48, 2048, weightBits);
    QCOMPARE(sizeOfMatrix(weights), 48 * 2048 * 2);
    for (const std::int64_t n : {1, 3}) {
        const auto x = randomValues(n * 2048, 8, 1.0F);
        QVERIFY(sameBits(product(2, weights, Precision::Packed, x, n),
                         product(2, weights, Precision::Source, x, n)));
    }
}

// As the shards of model parallelism hold them.
void TestPackedRows::piecesArePackedAsAWhole() {
    QFETCH(DType, dtype);
    constexpr std::int64_t kRows = 48;
    constexpr std::int64_t kColumns = 1024;
    const Kind& kind = kindOf(dtype);
    Bits bits = rowsWithExceptions(kind, kRows, kColumns);
    bits[3] = kind.notANumber;
    bits[4] = kind.infinity;
    CatalogTensor pieces = tensorOfBits(kind, kRows, kColumns, bits);
    pieces.axis = JoinAxis::Rows;
    pieces.parts.clear();
    for (int half = 0; half < 2; ++half) {
        const Bits own(bits.begin() + half * kRows / 2 * kColumns,
                       bits.begin() + (half + 1) * kRows / 2 * kColumns);
        pieces.parts.push_back(tensorOfBits(kind, kRows / 2, kColumns, own).parts.front());
    }
    const auto backend = std::move(cpu::createCpuBackend(2)).value();
    const auto matrix = backend->loadMatrix(pieces, Precision::Packed, {});
    QVERIFY(matrix.ok());
    QCOMPARE(matrix.value()->sizeBytes(), matrixBytes(Precision::Packed, dtype, kRows, kColumns));
    for (int row = 0; row < kRows; ++row)
        QVERIFY(areOf(kind, embeddedRow(*backend, *matrix.value(), row),
                      std::span(bits).subspan(static_cast<std::size_t>(row * kColumns), kColumns)));
}

void TestPackedRows::otherTypesStayAsTheyAre() {
    const auto values = randomValues(48 * 256, 1, 1.0F);
    QCOMPARE(sizeOfMatrix(tensorOf("w", {48, 256}, DType::F32, values)), 48 * 256 * 4);
    QCOMPARE(matrixBytes(Precision::Packed, DType::F32, 48, 256), 48 * 256 * 4);
}

// Narrow ones, and those of a row or two, which are made of blocks and tiles all the same.
void TestPackedRows::whatWouldNotGetSmallerStaysAsItIs() {
    for (const auto& [rows, columns] : {std::pair{48, 480}, {2, 1024}, {48, 1}}) {
        const auto values = randomValues(std::int64_t{rows} * columns, 1, 0.1F);
        QCOMPARE(sizeOfMatrix(tensorOf("w", {rows, columns}, DType::F16, values)),
                 std::int64_t{2} * rows * columns);
        QCOMPARE(matrixBytes(Precision::Packed, DType::F16, rows, columns),
                 std::int64_t{2} * rows * columns);
    }
}

void TestPackedRows::stopEndsPacking() {
    std::stop_source stop;
    stop.request_stop();
    const auto backend = std::move(cpu::createCpuBackend(2)).value();
    const auto matrix =
        backend->loadMatrix(tensorOfBits(kBf16, 64, 64, normalBits(kBf16, 64 * 64, 1)),
                            Precision::Packed, stop.get_token());
    QVERIFY(!matrix.ok());
    QCOMPARE(matrix.error().code, ErrorCode::Cancelled);
}

QTEST_GUILESS_MAIN(TestPackedRows)
#include "test_packed_rows.moc"
