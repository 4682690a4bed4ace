// Products with so many tokens that they pass in blocks, or rows in groups of panels, against those of each token
// alone, for every instruction set of this machine.
#include <QtTest>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/cpu_matrix.h"
#include "engine/backend/cpu/weight_loading.h"
#include "tests/support/backends.h"
#include "tests/support/tensors.h"

using namespace qllama;
using namespace qllama::cpu;
using namespace qllama::test;

namespace {

constexpr std::int64_t kRows = 78;  // not whole panels, but enough to be packed
constexpr std::int64_t kColumns = 6001;

// before + W x, as one of so many threads that each have a part of the caches; without `threads` for each
// token alone
std::vector<float> product(const CpuMatrix& matrix, const std::vector<float>& x,
                           std::vector<float> out, std::int64_t n, int threads = 0) {
    if (threads == 0) {
        for (std::int64_t token = 0; token < n; ++token)
            matrix.multiply(0, kRows, {.values = x.data() + token * kColumns, .n = 1},
                            out.data() + token * kRows, true);
        return out;
    }
    PackedTokens packed;
    resizePackedTokens(packed, n, kColumns);
    for (std::int64_t tile = 0; tile < packed.tiles; ++tile)
        packTile(x.data(), tile, packed);
    AlignedFloats room;
    room.resize(matrix.roomFloats(n, threads));
    const Activations activations{
        .values = x.data(), .n = n, .packed = &packed, .threads = threads, .room = room.get()};
    matrix.multiply(0, kRows, activations, out.data(), true);
    return out;
}

}  // namespace

class TestPanelProducts : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void cleanup();
    void productsAreThoseOfEachToken_data();
    void productsAreThoseOfEachToken();

private:
    std::vector<std::string> m_targets;
};

void TestPanelProducts::initTestCase() {
    m_targets = simdTargetsFound();
    QVERIFY(!m_targets.empty());
}

void TestPanelProducts::cleanup() {
    QVERIFY(forceCpuTarget(m_targets.front()).ok());
}

void TestPanelProducts::productsAreThoseOfEachToken_data() {
    QTest::addColumn<QString>("target");
    QTest::addColumn<bool>("isPacked");
    QTest::addColumn<int>("n");
    for (const std::string& target : m_targets)
        for (const bool isPacked : {false, true})
            for (const int n : {44, 271})  // 271 of 6001 columns are more than 6 MiB
                QTest::addRow("%s %s n=%d", target.c_str(), isPacked ? "packed" : "f16", n)
                    << QString::fromStdString(target) << isPacked << n;
}

void TestPanelProducts::productsAreThoseOfEachToken() {
    QFETCH(QString, target);
    QFETCH(bool, isPacked);
    QFETCH(int, n);
    QVERIFY(forceCpuTarget(target.toStdString()).ok());
    const auto weights =
        tensorOf("w", {kRows, kColumns}, DType::F16, randomValues(kRows * kColumns, 41, 0.1F));
    auto pool = ThreadPool::start(1);
    QVERIFY(pool.ok());
    const auto loaded = loadMatrix(weights, isPacked ? Precision::Packed : Precision::Source,
                                   pool.value(), nullptr, {});
    QVERIFY(loaded.ok());
    QCOMPARE(loaded.value()->sizeBytes() < kRows * kColumns * 2, isPacked);
    const auto& matrix = static_cast<const CpuMatrix&>(*loaded.value());
    const auto x = randomValues(n * kColumns, 42, 1.0F);
    const auto before = randomValues(n * kRows, 43, 1.0F);
    const std::vector<float> expected = product(matrix, x, before, n);
    // All rows in one group of panels, or in several.
    for (const int threads : {1, 8})
        QCOMPARE(product(matrix, x, before, n, threads), expected);
}

QTEST_GUILESS_MAIN(TestPanelProducts)
#include "test_panel_products.moc"
