// The bandwidth probe: gives a figure, and can be stopped.
#include <QTest>

#include "engine/backend/cpu/bandwidth_probe.h"

using namespace qllama;

class TestBandwidthProbe : public QObject {
    Q_OBJECT

private slots:
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
