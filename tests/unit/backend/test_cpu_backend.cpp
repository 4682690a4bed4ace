// What of the CPU backend is neither product nor attention, for every instruction set of this machine.
#include <QtTest>
#include <cmath>
#include <limits>

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
