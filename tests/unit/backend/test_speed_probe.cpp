// The probe of the processor's limits: reads every word, counts what it multiplies, gives figures, and
// can be stopped.
#include <QTest>
#include <array>
#include <numeric>
#include <span>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/cpu_speed_probe.h"
#include "engine/backend/cpu/kernels/arithmetic_kernels.h"
#include "engine/backend/cpu/kernels/bandwidth_kernels.h"

using namespace qllama;

class TestSpeedProbe : public QObject {
    Q_OBJECT

private slots:
    void everyTargetReadsEveryWord() {
        alignas(64) std::array<std::uint64_t, 1024> words;
        for (std::size_t i = 0; i < words.size(); ++i)
            words[i] = (i + 1) * 0x9E3779B97F4A7C15U;
        const auto expected = std::accumulate(words.begin(), words.end(), std::uint64_t{0});
        const auto bytes = std::as_bytes(std::span(words));
        const auto targets = cpu::simdTargetsFound();
        for (const std::string& target : targets) {
            QVERIFY(forceCpuTarget(target).ok());
            for (const int streams : {1, 2, 4, 8})
                QCOMPARE(cpu::readStreams(bytes.data(), std::ssize(bytes), streams), expected);
        }
        QVERIFY(forceCpuTarget(targets.front()).ok());
    }
    void everyTargetCountsWhatItMultiplies() {
        const auto targets = cpu::simdTargetsFound();
        for (const std::string& target : targets) {
            QVERIFY(forceCpuTarget(target).ok());
            for (const auto arithmetic : {cpu::Arithmetic::F32, cpu::Arithmetic::Int8}) {
                const std::int64_t once = cpu::multiplyAdd(arithmetic, 1);
                QVERIFY(once > 0);
                QCOMPARE(cpu::multiplyAdd(arithmetic, 1000), once * 1000);
            }
        }
        QVERIFY(forceCpuTarget(targets.front()).ok());
    }
    void measuresUnlessItIsStopped() {
        std::stop_source stop;
        const auto probe = cpu::CpuSpeedProbe::create(2, stop.get_token());
        QVERIFY(probe.ok());
        const auto measured = probe.value()->measureGbPerSecond(stop.get_token());
        QVERIFY(measured.ok() && measured.value() > 0);
        for (const Precision precision : {Precision::F16, Precision::Q8}) {
            const auto peak = probe.value()->measureMultiplyAdds(precision, stop.get_token());
            QVERIFY(peak.ok() && peak.value() && *peak.value() > 0);
        }
        stop.request_stop();
        const auto noPeak = probe.value()->measureMultiplyAdds(Precision::F16, stop.get_token());
        QVERIFY(!noPeak.ok() && noPeak.error().code == ErrorCode::Cancelled);
        const auto stopped = probe.value()->measureGbPerSecond(stop.get_token());
        QVERIFY(!stopped.ok() && stopped.error().code == ErrorCode::Cancelled);
        const auto notMade = cpu::CpuSpeedProbe::create(2, stop.get_token());
        QVERIFY(!notMade.ok() && notMade.error().code == ErrorCode::Cancelled);
    }
};

QTEST_APPLESS_MAIN(TestSpeedProbe)
#include "test_speed_probe.moc"
