// Whole models on OpenCL devices, alone and as parts of a pipeline, beside the CPU engine.
#include <QtTest>
#include <algorithm>

#include "engine/backend/opencl/fault_injection.h"
#include "engine/session/model_loader.h"
#include "engine/session/pipeline.h"
#include "tests/support/small_model.h"

using namespace qllama;
using namespace qllama::test;

namespace {

constexpr std::int64_t kContext = 256;
constexpr int kGreedyTokens = 64;
constexpr int kOutOfMemory = -4;  // CL_MEM_OBJECT_ALLOCATION_FAILURE

LlamaConfig configWith(std::int64_t headCount, std::int64_t kvHeadCount) {
    return {.dim = headCount * 16,
            .layerCount = 6,
            .headCount = headCount,
            .kvHeadCount = kvHeadCount,
            .headDim = 16,
            .ffnDim = 150,
            .vocabularySize = 211};
}

std::vector<std::int32_t> promptOf(std::int64_t length) {
    std::vector<std::int32_t> tokens;
    for (std::int64_t i = 0; i < length; ++i)
        tokens.push_back(static_cast<std::int32_t>((i * 37 + 11) % 211));
    return tokens;
}

struct Run {
    std::vector<float> logits;  // after the prompt
    std::vector<std::int32_t> tokens;
};

Result<Run> generate(Transformer& transformer, const std::vector<std::int32_t>& prompt,
                     int greedyTokens) {
    Run run;
    transformer.truncate(0);
    QLLAMA_CHECK(transformer.forward(prompt, {}, {}));
    run.logits.assign(transformer.logits().begin(), transformer.logits().end());
    for (int i = 0; i < greedyTokens; ++i) {
        const auto logits = transformer.logits();
        run.tokens.push_back(static_cast<std::int32_t>(
            std::max_element(logits.begin(), logits.end()) - logits.begin()));
        const std::int32_t next[] = {run.tokens.back()};
        QLLAMA_CHECK(transformer.forward(next, {}, {}));
    }
    return run;
}

Result<Pipeline> load(const Checkpoint& checkpoint, const LlamaConfig& config,
                      const std::string& devices, std::optional<std::vector<std::int64_t>> split,
                      KvPrecision kvPrecision) {
    QLLAMA_TRY(DeviceChoice choice, chooseDevices({.device = devices,
                                                   .split = std::move(split),
                                                   .layerCount = config.layerCount}));
    PipelineRequest request;
    request.placement = {.config = config,
                         .contextLength = kContext,
                         .kvPrecision = kvPrecision,
                         .devices = choice.devices,
                         .split = choice.split};
    request.cpuIsSpare = choice.cpuIsSpare;
    request.options.threadCount = 2;
    return loadPipeline(request, checkpoint, {}, {});
}

float largestDifference(const std::vector<float>& a, const std::vector<float>& b) {
    float largest = a.size() == b.size() ? 0.0F : 1e30F;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        if (!(std::abs(a[i] - b[i]) <= largest)) largest = std::abs(a[i] - b[i]);
    return largest;
}

}  // namespace

class TestOpenClModel : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void agreesWithTheCpuEngine_data();
    void agreesWithTheCpuEngine();
    void demoModelWritesTheSameText_data();
    void demoModelWritesTheSameText();
    void planNamesWhatIsUsed();
    void smallDeviceGetsFewerLayers();
    void givenSplitIsNotChanged();
    void stopWhileLoadingIsCancelled();
};

void TestOpenClModel::initTestCase() {
    // PoCL offers the processor twice, for pipelines over two devices. Before the first use of OpenCL.
    qputenv("POCL_DEVICES", "pthread pthread");
    const DeviceList list = listDevices();
    QVERIFY2(list.devices.size() >= 3,
             "Two OpenCL devices are needed: install pocl-opencl-icd to run these tests.");
}

void TestOpenClModel::agreesWithTheCpuEngine_data() {
    QTest::addColumn<int>("headCount");
    QTest::addColumn<int>("kvHeadCount");
    QTest::addColumn<QString>("devices");
    QTest::addColumn<QList<int>>("split");
    QTest::addColumn<bool>("halfCache");
    const QList<QPair<QString, QList<int>>> places = {
        {"opencl:0", {6}},
        {"opencl:0,cpu", {2, 4}},
        {"cpu,opencl:0", {5, 1}},
        {"opencl:0,opencl:1", {3, 3}},
        {"opencl:1,opencl:0,cpu", {1, 2, 3}},
    };
    const int heads[][2] = {{4, 4}, {6, 2}, {5, 1}};
    for (const auto& shape : heads)
        for (const auto& [devices, split] : places)
            for (const bool half : {false, true})
                QTest::addRow("heads %d/%d on %s%s", shape[0], shape[1], qPrintable(devices),
                              half ? " f16 cache" : "")
                    << shape[0] << shape[1] << devices << split << half;
}

void TestOpenClModel::agreesWithTheCpuEngine() {
    QFETCH(int, headCount);
    QFETCH(int, kvHeadCount);
    QFETCH(QString, devices);
    QFETCH(QList<int>, split);
    QFETCH(bool, halfCache);
    const LlamaConfig config = configWith(headCount, kvHeadCount);
    const Checkpoint checkpoint = randomCheckpoint(config, DType::F16, 5);
    const KvPrecision kv = halfCache ? KvPrecision::F16 : KvPrecision::F32;
    auto cpu = load(checkpoint, config, "cpu", std::nullopt, kv);
    auto other = load(checkpoint, config, devices.toStdString(),
                      std::vector<std::int64_t>(split.begin(), split.end()), kv);
    QVERIFY2(other.ok(), other.ok() ? "" : other.error().text().c_str());
    for (const std::int64_t length : {1, 2, 31, 130}) {
        const int greedyTokens = length == 31 ? kGreedyTokens : 0;
        const auto expected = generate(*cpu.value().transformer, promptOf(length), greedyTokens);
        const auto got = generate(*other.value().transformer, promptOf(length), greedyTokens);
        QVERIFY2(got.ok(), got.ok() ? "" : got.error().text().c_str());
        const float difference = largestDifference(got.value().logits, expected.value().logits);
        QVERIFY2(difference <= 2e-3F, qPrintable(QString::number(difference)));
        QCOMPARE(got.value().tokens, expected.value().tokens);
    }
}

void TestOpenClModel::demoModelWritesTheSameText_data() {
    QTest::addColumn<QString>("devices");
    QTest::addColumn<QString>("precision");
    for (const char* devices : {"opencl:0", "opencl:0,cpu", "opencl:1,opencl:0"})
        for (const char* precision : {"f16", "f32"})
            QTest::addRow("%s %s", devices, precision) << devices << precision;
}

void TestOpenClModel::demoModelWritesTheSameText() {
    QFETCH(QString, devices);
    QFETCH(QString, precision);
    LoadRequest request;
    request.location.model = QLLAMA_RESOURCE_DIR "/demo-model";
    request.precision = precisionFromKey(precision.toStdString()).value();
    request.threadCount = 2;
    auto cpu = loadModel(request, {}, {});
    QVERIFY2(cpu.ok(), cpu.ok() ? "" : cpu.error().text().c_str());
    request.device = devices.toStdString();
    if (devices.contains(',')) request.split = {2, 4};
    const auto plan = planModel(request, {});
    QVERIFY2(plan.ok(), plan.ok() ? "" : plan.error().text().c_str());
    auto other = loadModel(request, {}, {});
    QVERIFY2(other.ok(), other.ok() ? "" : other.error().text().c_str());
    QCOMPARE(other.value()->info.placement.stages.size(), plan.value().stages.size());
    QCOMPARE(other.value()->backends.size(), plan.value().stages.size());
    const auto prompt = cpu.value()->tokenizer->encode("Once upon a time there was a");
    const auto expected = generate(*cpu.value()->transformer, prompt, kGreedyTokens);
    const auto got = generate(*other.value()->transformer, prompt, kGreedyTokens);
    QVERIFY2(got.ok(), got.ok() ? "" : got.error().text().c_str());
    QVERIFY(largestDifference(got.value().logits, expected.value().logits) <= 2e-3F);
    QCOMPARE(got.value().tokens, expected.value().tokens);
}

void TestOpenClModel::planNamesWhatIsUsed() {
    const LlamaConfig config = configWith(4, 2);
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

void TestOpenClModel::smallDeviceGetsFewerLayers() {
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
        QVERIFY(plan.notes.front().find("ran out of memory") != std::string::npos);
        const auto got = generate(*smaller.value().transformer, promptOf(31), kGreedyTokens);
        QVERIFY(got.ok());
        QCOMPARE(got.value().tokens, expected.value().tokens);
    }
}

void TestOpenClModel::givenSplitIsNotChanged() {
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

void TestOpenClModel::stopWhileLoadingIsCancelled() {
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

QTEST_GUILESS_MAIN(TestOpenClModel)
#include "test_opencl_model.moc"
