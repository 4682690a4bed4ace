// The bandwidth probe: reads every word, gives a figure, and can be stopped.
#include <QTest>
#include <array>
#include <numeric>
#include <span>

#include "engine/backend/cpu/bandwidth_probe.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/kernels/bandwidth_kernels.h"

using namespace qllama;

class TestBandwidthProbe : public QObject {
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
    void measuresUnlessItIsStopped() {
        std::stop_source stop;
        const auto probe = cpu::BandwidthProbe::create(2, stop.get_token());
        QVERIFY(probe.ok());
        const auto measured = probe.value()->measureGbPerSecond(stop.get_token());
        QVERIFY(measured.ok() && measured.value() > 0);
        stop.request_stop();
        const auto stopped = probe.value()->measureGbPerSecond(stop.get_token());
        QVERIFY(!stopped.ok() && stopped.error().code == ErrorCode::Cancelled);
        const auto notMade = cpu::BandwidthProbe::create(2, stop.get_token());
        QVERIFY(!notMade.ok() && notMade.error().code == ErrorCode::Cancelled);
    }
};

QTEST_APPLESS_MAIN(TestBandwidthProbe)
#include "test_bandwidth_probe.moc"
