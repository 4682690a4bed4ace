// Plans for devices of given sizes, and what is said when a model does not fit.
#include <QtTest>

#include "engine/session/pipeline.h"
#include "tests/support/small_model.h"

using namespace qllama;
using namespace qllama::test;

namespace {

constexpr std::int64_t kLayers = 8;
constexpr std::int64_t kDim = 32;
constexpr std::int64_t kKvDim = 16;
constexpr std::int64_t kFfn = 48;
constexpr std::int64_t kVocabulary = 100;
constexpr std::int64_t kContext = 64;

const LlamaConfig kConfig{.dim = kDim,
                          .layerCount = kLayers,
                          .headCount = 4,
                          .kvHeadCount = 2,
                          .headDim = 8,
                          .ffnDim = kFfn,
                          .vocabularySize = kVocabulary};

// By hand, in f16: matrices, then the norms in f32.
constexpr std::int64_t kLayerBytes =
    2 * (2 * kDim * kDim + 2 * kKvDim * kDim + 3 * kFfn * kDim) + 2 * 4 * kDim;
constexpr std::int64_t kEndBytes = 2 * kVocabulary * kDim;
constexpr std::int64_t kLayerCacheBytes = 2 * kKvDim * kContext * 2;
// OpenCL kernels pad the 8 values of each head to 16; keys they do not.
constexpr std::int64_t kDeviceCacheBytes = kLayerCacheBytes + kLayerCacheBytes / 2;

DeviceInfo device(const std::string& id, std::optional<std::int64_t> memoryBytes) {
    DeviceInfo info;
    info.id = id;
    info.name = "Card";
    info.globalMemoryBytes = memoryBytes;
    return info;
}

PlacementRequest requestFor(std::vector<DeviceInfo> devices) {
    PlacementRequest request;
    request.config = kConfig;
    request.contextLength = kContext;
    request.devices = std::move(devices);
    return request;
}

// Memory that leaves `bytes` to a plan after the margin of a tenth.
std::int64_t memoryFor(std::int64_t bytes) {
    return bytes * 10 / 9 + 10;
}

std::string shapeOf(const PlacementPlan& plan) {
    std::string text;
    for (const StagePlacement& stage : plan.stages)
        text += (text.empty() ? "" : ", ") + placeText(stage);
    return text;
}

}  // namespace

class TestPlacement : public QObject {
    Q_OBJECT

private slots:
    void bytesAreExact();
    void devicesAreFilledInOrder();
    void limitsMoveLayersOn();
    void splitIsTakenAsGiven();
    void wrongSplitsAreRefused_data();
    void wrongSplitsAreRefused();
    void modelThatFitsNowhereIsRefused();
    void deviceWithoutRoomIsNamed();
    void sharedMemoryCountsOnce();
    void freeMemoryIsTheLimit();
    void moreThanTheComputerHasIsSaid();
    void aCacheTooLargeForOneAllocationGoesElsewhere();
    void automaticNeverTakesAProcessorOfOpenCl();
    void choicesAreChecked_data();
    void choicesAreChecked();
    void shareBecomesASplit();
    void packingIsForTheProcessor();
    void packingNeeds16Bits();

private:
    Checkpoint m_checkpoint = randomCheckpoint(kConfig, DType::F16, 1);
};

void TestPlacement::bytesAreExact() {
    const auto plan = planPlacement(requestFor({device("cpu", std::nullopt)}), m_checkpoint);
    QVERIFY(plan.ok());
    QCOMPARE(plan.value().stages.size(), std::size_t{1});
    const StagePlacement& stage = plan.value().stages.front();
    QCOMPARE(stage.weightBytes, kLayers * kLayerBytes + 2 * kEndBytes + 4 * kDim);
    QCOMPARE(stage.kvCacheBytes, kLayers * kLayerCacheBytes);
    QCOMPARE(stage.scratchBytes, Transformer::scratchBytes(kConfig, kContext, true));
    QVERIFY(!stage.usableBytes);
}

void TestPlacement::devicesAreFilledInOrder() {
    const std::int64_t scratch = Transformer::scratchBytes(kConfig, kContext, false);
    const std::int64_t three = kEndBytes + 3 * (kLayerBytes + kDeviceCacheBytes) + scratch;
    const std::int64_t two = 2 * (kLayerBytes + kDeviceCacheBytes) + scratch;
    auto plan =
        planPlacement(requestFor({device("opencl:0", memoryFor(three)),
                                  device("opencl:1", memoryFor(two)), device("cpu", std::nullopt)}),
                      m_checkpoint);
    QVERIFY(plan.ok());
    QCOMPARE(shapeOf(plan.value()),
             std::string("layers 0 to 2 on opencl:0, layers 3 to 4 on opencl:1, layers 5 to 7 on "
                         "cpu"));
    QCOMPARE(plan.value().stages[0].totalBytes(), three);
    QCOMPARE(plan.value().stages[1].totalBytes(), two);
    // One byte less, one layer less.
    plan = planPlacement(
        requestFor({device("opencl:0", (three - 1) * 10 / 9), device("cpu", std::nullopt)}),
        m_checkpoint);
    QCOMPARE(shapeOf(plan.value()), std::string("layers 0 to 1 on opencl:0, layers 2 to 7 on cpu"));
    plan = planPlacement(
        requestFor({device("opencl:0", std::int64_t{1} << 30), device("cpu", std::nullopt)}),
        m_checkpoint);
    QCOMPARE(shapeOf(plan.value()), std::string("layers 0 to 7 on opencl:0"));
    QVERIFY(plan.value().notes.empty());
}

void TestPlacement::limitsMoveLayersOn() {
    PlacementRequest request =
        requestFor({device("opencl:0", std::int64_t{1} << 30), device("cpu", std::nullopt)});
    request.layerLimits = {5, kLayers};
    QCOMPARE(shapeOf(planPlacement(request, m_checkpoint).value()),
             std::string("layers 0 to 4 on opencl:0, layers 5 to 7 on cpu"));
}

void TestPlacement::splitIsTakenAsGiven() {
    PlacementRequest request = requestFor(
        {device("opencl:0", 1000), device("opencl:1", std::nullopt), device("cpu", std::nullopt)});
    request.split = {3, 0, 5};
    const auto plan = planPlacement(request, m_checkpoint);
    QVERIFY(plan.ok());
    QCOMPARE(shapeOf(plan.value()), std::string("layers 0 to 2 on opencl:0, layers 3 to 7 on cpu"));
    // Too much for the device: carried out, but not in silence.
    QCOMPARE(plan.value().notes.size(), std::size_t{1});
    QVERIFY(plan.value().notes.front().find("layers 0 to 2 on opencl:0") != std::string::npos);
}

void TestPlacement::wrongSplitsAreRefused_data() {
    QTest::addColumn<QList<int>>("split");
    QTest::newRow("too few numbers") << QList<int>{8};
    QTest::newRow("too many numbers") << QList<int>{4, 2, 2};
    QTest::newRow("too few layers") << QList<int>{4, 3};
    QTest::newRow("too many layers") << QList<int>{4, 5};
    QTest::newRow("negative") << QList<int>{-1, 9};
}

void TestPlacement::wrongSplitsAreRefused() {
    QFETCH(QList<int>, split);
    PlacementRequest request =
        requestFor({device("opencl:0", std::nullopt), device("cpu", std::nullopt)});
    request.split.emplace(split.begin(), split.end());
    const auto plan = planPlacement(request, m_checkpoint);
    QVERIFY(!plan.ok());
    QCOMPARE(plan.error().code, ErrorCode::InvalidRequest);
    QVERIFY(plan.error().message.find("together 8 layers") != std::string::npos);
}

void TestPlacement::modelThatFitsNowhereIsRefused() {
    const auto plan =
        planPlacement(requestFor({device("opencl:0", memoryFor(60000))}), m_checkpoint);
    QVERIFY(!plan.ok());
    QCOMPARE(plan.error().code, ErrorCode::OutOfMemory);
    QVERIFY(plan.error().message.find("of its 8 layers fit on opencl:0") != std::string::npos);
}

void TestPlacement::deviceWithoutRoomIsNamed() {
    const auto plan = planPlacement(
        requestFor({device("opencl:0", 1000), device("cpu", std::nullopt)}), m_checkpoint);
    QVERIFY(plan.ok());
    QCOMPARE(shapeOf(plan.value()), std::string("layers 0 to 7 on cpu"));
    QCOMPARE(plan.value().notes.size(), std::size_t{1});
    QVERIFY(plan.value().notes.front().find("opencl:0 (Card)") != std::string::npos);
}

// Two devices that share the computer's memory have it once.
void TestPlacement::sharedMemoryCountsOnce() {
    const std::int64_t scratch = Transformer::scratchBytes(kConfig, kContext, false);
    const std::int64_t five = kEndBytes + 5 * (kLayerBytes + kDeviceCacheBytes) + scratch;
    std::vector<DeviceInfo> devices = {device("opencl:0", memoryFor(five)),
                                       device("opencl:1", memoryFor(five)),
                                       device("cpu", std::nullopt)};
    QCOMPARE(shapeOf(planPlacement(requestFor(devices), m_checkpoint).value()),
             std::string("layers 0 to 4 on opencl:0, layers 5 to 7 on opencl:1"));
    devices[0].sharesHostMemory = devices[1].sharesHostMemory = true;
    QCOMPARE(shapeOf(planPlacement(requestFor(devices), m_checkpoint).value()),
             std::string("layers 0 to 4 on opencl:0, layers 5 to 7 on cpu"));
}

// Where the driver tells, what other programs hold is left alone.
void TestPlacement::freeMemoryIsTheLimit() {
    const std::int64_t scratch = Transformer::scratchBytes(kConfig, kContext, false);
    const std::int64_t five = kEndBytes + 5 * (kLayerBytes + kDeviceCacheBytes) + scratch;
    DeviceInfo card = device("opencl:0", std::int64_t{1} << 30);
    card.freeMemoryBytes = five;
    const auto plan = planPlacement(requestFor({card, device("cpu", std::nullopt)}), m_checkpoint);
    QCOMPARE(shapeOf(plan.value()), std::string("layers 0 to 4 on opencl:0, layers 5 to 7 on cpu"));
}

void TestPlacement::moreThanTheComputerHasIsSaid() {
    PlacementRequest request = requestFor({device("cpu", std::nullopt)});
    request.contextLength = std::int64_t{1} << 40;
    const auto plan = planPlacement(request, m_checkpoint);
    QVERIFY(plan.ok());
    QCOMPARE(plan.value().notes.size(), std::size_t{1});
    QVERIFY(plan.value().notes.front().find("this computer's own memory") != std::string::npos);
}

// Keys and values of a layer are one allocation, and devices limit those.
void TestPlacement::aCacheTooLargeForOneAllocationGoesElsewhere() {
    DeviceInfo card = device("opencl:0", std::int64_t{1} << 30);
    card.maxAllocationBytes = kDeviceCacheBytes;
    const auto shape = [&] {
        return planPlacement(requestFor({card, device("cpu", std::nullopt)}), m_checkpoint);
    };
    QCOMPARE(shapeOf(shape().value()), std::string("layers 0 to 7 on opencl:0"));
    card.maxAllocationBytes = kDeviceCacheBytes - 1;
    QCOMPARE(shapeOf(shape().value()), std::string("layers 0 to 7 on cpu"));
    const std::string note = shape().value().notes.front();
    QVERIFY2(note.find("at once") != std::string::npos, note.c_str());
}

void TestPlacement::automaticNeverTakesAProcessorOfOpenCl() {
    const auto choice = chooseDevices({.device = "auto", .layerCount = kLayers});
    QVERIFY(choice.ok());
    QCOMPARE(choice.value().devices.back().id, std::string("cpu"));
    for (const DeviceInfo& chosen : choice.value().devices)
        QVERIFY(chosen.id == "cpu" || !(chosen.isHostProcessor || chosen.sharesHostMemory));
}

void TestPlacement::choicesAreChecked_data() {
    QTest::addColumn<QString>("device");
    QTest::addColumn<QString>("reason");
    QTest::newRow("unknown") << "opencl:77"
                             << "no device 'opencl:77'";
    QTest::newRow("unknown among known") << "cpu,tape"
                                         << "no device 'tape'";
    QTest::newRow("empty name") << "cpu,"
                                << "no device ''";
    QTest::newRow("twice") << "cpu,cpu"
                           << "named twice";
}

void TestPlacement::choicesAreChecked() {
    QFETCH(QString, device);
    QFETCH(QString, reason);
    const auto choice = chooseDevices({.device = device.toStdString(), .layerCount = kLayers});
    QVERIFY(!choice.ok());
    QVERIFY2(choice.error().message.find(reason.toStdString()) != std::string::npos,
             choice.error().message.c_str());
}

void TestPlacement::shareBecomesASplit() {
    const auto choice = chooseDevices({.device = "opencl:0", .deviceShare = 0.7, .layerCount = 22});
    QVERIFY2(choice.ok(), choice.ok() ? "" : choice.error().message.c_str());
    QCOMPARE(*choice.value().split, (std::vector<std::int64_t>{15, 7}));
    QVERIFY(!choice.value().cpuIsSpare);
    QVERIFY(!chooseDevices({.device = "cpu", .deviceShare = 0.7, .layerCount = 22}).ok());
    QVERIFY(!chooseDevices({.device = "opencl:0",
                            .split = std::vector<std::int64_t>{22},
                            .deviceShare = 0.7,
                            .layerCount = 22})
                 .ok());
}

void TestPlacement::packingIsForTheProcessor() {
    const Checkpoint checkpoint = randomCheckpoint(kConfig, DType::BF16, 1);
    PlacementRequest request =
        requestFor({device("opencl:0", std::nullopt), device("cpu", std::nullopt)});
    request.split = {{3, 5}};
    const auto source = planPlacement(request, checkpoint);
    request.precision = Precision::Packed;
    const auto packed = planPlacement(request, checkpoint);
    QVERIFY(source.ok() && packed.ok());
    QCOMPARE(packed.value().stages[0].weightBytes, source.value().stages[0].weightBytes);
    QVERIFY(packed.value().stages[1].weightBytes < source.value().stages[1].weightBytes);
    QCOMPARE(packed.value().notes.size(), std::size_t{1});
    const std::string& note = packed.value().notes.front();
    QVERIFY2(note.find("on opencl:0 they stay as in the file") != std::string::npos, note.c_str());
}

void TestPlacement::packingNeeds16Bits() {
    const Checkpoint checkpoint = randomCheckpoint(kConfig, DType::F32, 1);
    PlacementRequest request = requestFor({device("cpu", std::nullopt)});
    const auto source = planPlacement(request, checkpoint);
    request.precision = Precision::Packed;
    const auto plan = planPlacement(request, checkpoint);
    QVERIFY(source.ok() && plan.ok());
    QCOMPARE(plan.value().stages.front().weightBytes, source.value().stages.front().weightBytes);
    QCOMPARE(plan.value().notes.size(), std::size_t{1});
    const std::string& note = plan.value().notes.front();
    QVERIFY2(note.find("Only bf16 and f16 are packed") != std::string::npos, note.c_str());
}

QTEST_GUILESS_MAIN(TestPlacement)
#include "test_placement.moc"
