// Where the layers of a model go on OpenCL devices, and what follows when a device has less memory
// than it says.
#include <QtTest>
#include <functional>
#include <map>
#include <memory>

#include "tests/unit/opencl/faults.h"

using namespace qllama;
using namespace qllama::test;

class TestOpenClPlacement : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void planNamesWhatIsUsed_data();
    void planNamesWhatIsUsed();
    void planOfRandomWeightsNamesWhatIsUsed_data();
    void planOfRandomWeightsNamesWhatIsUsed();
    void smallDeviceGetsFewerLayers();
    void deviceThatFillsUpWhileCopyingGetsFewerLayers();
    void smallDeviceAloneIsTheReason();
    void givenSplitIsNotChanged();
    void stopWhileLoadingIsCancelled();
};

void TestOpenClPlacement::initTestCase() {
    QVERIFY2(offersTwoDevices(),
             "Two OpenCL devices are needed: install pocl-opencl-icd to run these tests.");
}

void TestOpenClPlacement::planNamesWhatIsUsed_data() {
    QTest::addColumn<QString>("devices");
    QTest::addColumn<QString>("precision");
    for (const char* devices : {"opencl:0", "opencl:0,opencl:1", "opencl:1,cpu"})
        for (const char* precision : {"source", "f32", "q8", "q4"})
            QTest::addRow("%s %s", devices, precision) << devices << precision;
}

void TestOpenClPlacement::planNamesWhatIsUsed() {
    QFETCH(QString, devices);
    QFETCH(QString, precision);
    LoadRequest request = demoRequest(devices.toStdString());
    request.precision = precisionFromKey(precision.toStdString()).value();
    if (devices.contains(',')) request.split = {4, 2};
    const auto plan = planModel(request, {});
    QVERIFY(plan.ok());
    // Within 5 % of what each device is asked for, to the last token of the context.
    std::map<std::string, std::int64_t> asked;
    opencl::setFaultHook([&](opencl::FaultPoint point, const std::string& id, std::int64_t bytes) {
        if (point == opencl::FaultPoint::Allocation) asked[id] += bytes;
        return 0;
    });
    auto model = loadModel(request, {}, {});
    QVERIFY(model.ok());
    Transformer& transformer = *model.value()->transformer;
    const auto generated = generate(transformer, promptOf(transformer.contextLength() - 1), 1);
    opencl::setFaultHook({});
    QVERIFY(generated.ok());
    for (const StagePlacement& stage : plan.value().stages) {
        if (stage.device.id == "cpu") continue;
        const auto planned = static_cast<double>(stage.totalBytes());
        const auto used = static_cast<double>(asked[stage.device.id]);
        QVERIFY2(std::abs(used - planned) <= 0.05 * planned,
                 qPrintable(QString("asked for %1, planned %2").arg(used).arg(planned)));
    }
}

void TestOpenClPlacement::planOfRandomWeightsNamesWhatIsUsed_data() {
    QTest::addColumn<int>("headDim");
    QTest::newRow("a multiple of 16") << 16;
    QTest::newRow("padded") << 20;
}

void TestOpenClPlacement::planOfRandomWeightsNamesWhatIsUsed() {
    QFETCH(int, headDim);
    LlamaConfig config = configWith(4, 2);
    config.headDim = headDim;
    config.dim = config.headCount * headDim;
    const Checkpoint checkpoint = randomCheckpoint(config, DType::F16, 5);
    const auto pipeline = load(checkpoint, config, "opencl:0", std::nullopt, KvPrecision::F16);
    QVERIFY(pipeline.ok());
    const PlacementPlan& plan = pipeline.value().plan;
    QCOMPARE(plan.stages.size(), std::size_t{1});
    QVERIFY(plan.notes.empty());
    // Within 5 % of what the device is asked for, seen where the memory is asked for.
    std::int64_t asked = 0;
    opencl::setFaultHook([&](opencl::FaultPoint point, const std::string&, std::int64_t bytes) {
        if (point == opencl::FaultPoint::Allocation) asked += bytes;
        return 0;
    });
    const auto again = load(checkpoint, config, "opencl:0", std::nullopt, KvPrecision::F16);
    opencl::setFaultHook({});
    QVERIFY(again.ok());
    const double planned = static_cast<double>(plan.stages.front().totalBytes());
    QVERIFY2(std::abs(static_cast<double>(asked) - planned) <= 0.05 * planned,
             qPrintable(QString("asked for %1, planned %2").arg(asked).arg(planned)));
}

void TestOpenClPlacement::smallDeviceGetsFewerLayers() {
    const LlamaConfig config = configWith(4, 2);
    const Checkpoint checkpoint = randomCheckpoint(config, DType::F16, 5);
    auto cpu = load(checkpoint, config, "cpu", std::nullopt, KvPrecision::F32);
    const auto expected = generate(*cpu.value().transformer, promptOf(31), kGreedyTokens);
    const auto whole = load(checkpoint, config, "opencl:0", std::nullopt, KvPrecision::F32);
    const std::int64_t needed = whole.value().plan.stages.front().totalBytes();
    // The device announces gigabytes but gives less and less.
    for (const double part : {0.95, 0.6, 0.3, 0.0}) {
        std::int64_t taken = 0;
        opencl::setFaultHook(
            [&](opencl::FaultPoint point, const std::string& id, std::int64_t bytes) {
                if (point != opencl::FaultPoint::Allocation || id != "opencl:0") return 0;
                taken += bytes;
                if (static_cast<double>(taken) <= part * static_cast<double>(needed)) return 0;
                taken = 0;  // what was taken is given back before the next attempt
                return kOutOfMemory;
            });
        auto smaller = load(checkpoint, config, "opencl:0", std::nullopt, KvPrecision::F32);
        opencl::setFaultHook({});
        QVERIFY2(smaller.ok(), smaller.ok() ? "" : smaller.error().text().c_str());
        const PlacementPlan& plan = smaller.value().plan;
        QCOMPARE(plan.stages.back().device.id, std::string("cpu"));
        QVERIFY(plan.stages.back().layerCount > 0);
        QCOMPARE(std::count_if(plan.notes.begin(), plan.notes.end(),
                               [](const std::string& note) {
                                   return note.find("ran out of memory with 6 layers") !=
                                          std::string::npos;
                               }),
                 1);
        const std::int64_t left = config.layerCount - plan.stages.back().layerCount;
        const std::string now = left > 0 ? "it has " + std::to_string(left) : "and with fewer";
        QVERIFY2(plan.notes.front().find(now) != std::string::npos, plan.notes.front().c_str());
        const auto got = generate(*smaller.value().transformer, promptOf(31), kGreedyTokens);
        QVERIFY(got.ok());
        QCOMPARE(got.value().tokens, expected.value().tokens);
    }
}

// Drivers that hand out memory only when it is written say so then, by another name.
void TestOpenClPlacement::deviceThatFillsUpWhileCopyingGetsFewerLayers() {
    LoadRequest request = demoRequest("opencl:0");
    request.precision = Precision::F32;  // other weights stay where they are mapped
    const std::int64_t needed = planModel(request, {}).value().stages.front().totalBytes();
    constexpr std::int64_t kOfMatrix = 100'000;  // bytes; what is written besides is smaller
    std::int64_t taken = 0;
    std::int64_t last = 0;
    request.planMade = [&](const PlacementPlan&) { taken = 0; };
    opencl::setFaultHook([&](opencl::FaultPoint point, const std::string&, std::int64_t bytes) {
        if (point == opencl::FaultPoint::Allocation) {
            taken += bytes;
            last = bytes;
        } else if (taken > needed / 2 && last > kOfMatrix) {
            return kOutOfResources;
        }
        return 0;
    });
    const auto model = loadModel(request, {}, {});
    opencl::setFaultHook({});
    QVERIFY2(model.ok(), model.ok() ? "" : model.error().message.c_str());
    const auto& stages = model.value()->info.placement.stages;
    QCOMPARE(stages.size(), std::size_t{2});
    QCOMPARE(stages.back().device.id, std::string("cpu"));
    QVERIFY(model.value()->info.notes.front().find("ran out of memory with 6 layers") !=
            std::string::npos);
}

void TestOpenClPlacement::smallDeviceAloneIsTheReason() {
    LoadRequest request = demoRequest("opencl:0");
    request.mayUseCpu = false;
    const FaultAt fault(opencl::FaultPoint::Allocation, 0);
    const auto model = loadModel(request, {}, {});
    QVERIFY(!model.ok());
    QCOMPARE(model.error().code, ErrorCode::OutOfMemory);
    const std::string& message = model.error().message;
    QVERIFY2(isSentenceAboutTheDevice(model.error()), message.c_str());
    QVERIFY2(message.find("ran out of memory with 6 layers. ") != std::string::npos,
             message.c_str());
    QVERIFY2(message.find("5 of its 6 layers fit") != std::string::npos, message.c_str());
}

void TestOpenClPlacement::givenSplitIsNotChanged() {
    const LlamaConfig config = configWith(4, 2);
    const Checkpoint checkpoint = randomCheckpoint(config, DType::F16, 5);
    opencl::setFaultHook([](opencl::FaultPoint point, const std::string&, std::int64_t) {
        return point == opencl::FaultPoint::Allocation ? kOutOfMemory : 0;
    });
    const auto pipeline =
        load(checkpoint, config, "opencl:0,cpu", std::vector<std::int64_t>{3, 3}, KvPrecision::F32);
    opencl::setFaultHook({});
    QVERIFY(!pipeline.ok());
    QCOMPARE(pipeline.error().code, ErrorCode::OutOfMemory);
    QVERIFY(pipeline.error().message.find("opencl:0") != std::string::npos);
}

void TestOpenClPlacement::stopWhileLoadingIsCancelled() {
    const LlamaConfig config = configWith(4, 2);
    const Checkpoint checkpoint = randomCheckpoint(config, DType::F16, 5);
    std::stop_source stop;
    PipelineRequest request;
    request.placement = {
        .config = config,
        .contextLength = kContext,
        .devices = {describeDevice("opencl:0").value(), describeDevice("cpu").value()},
        .split = std::vector<std::int64_t>{3, 3}};
    LoadProgress last;
    const auto pipeline = loadPipeline(
        request, checkpoint,
        [&](const LoadProgress& progress) {
            last = progress;
            if (progress.doneBytes > progress.totalBytes / 2) stop.request_stop();
        },
        stop.get_token());
    QVERIFY(!pipeline.ok());
    QCOMPARE(pipeline.error().code, ErrorCode::Cancelled);
    QVERIFY(last.doneBytes < last.totalBytes);
}

QTEST_GUILESS_MAIN(TestOpenClPlacement)
#include "test_opencl_placement.moc"
