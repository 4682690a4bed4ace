// Whole models on OpenCL devices, alone and as parts of a pipeline, beside the CPU engine.
#include <QtTest>
#include <algorithm>
#include <functional>
#include <map>
#include <memory>

#include "engine/backend/opencl/fault_injection.h"
#include "engine/backend/reference/reference_backend.h"
#include "engine/session/generation_session.h"
#include "engine/session/model_loader.h"
#include "engine/session/pipeline.h"
#include "tests/support/small_model.h"

using namespace qllama;
using namespace qllama::test;

namespace {

constexpr std::int64_t kContext = 576;
constexpr int kGreedyTokens = 64;
constexpr int kOutOfMemory = -4;     // CL_MEM_OBJECT_ALLOCATION_FAILURE
constexpr int kOutOfResources = -5;  // CL_OUT_OF_RESOURCES

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

namespace {

// Fails the command or allocation with that number, counted from the hook's making.
class FaultAt {
public:
    FaultAt(opencl::FaultPoint point, int number) {
        opencl::setFaultHook(
            [this, point, number](opencl::FaultPoint at, const std::string& id, std::int64_t) {
                if (at != point || id != "opencl:0" || m_seen++ != number) return 0;
                return point == opencl::FaultPoint::Allocation ? kOutOfMemory : kOutOfResources;
            });
    }
    ~FaultAt() { opencl::setFaultHook({}); }
    FaultAt(const FaultAt&) = delete;
    FaultAt& operator=(const FaultAt&) = delete;
    [[nodiscard]] int seen() const { return m_seen; }

private:
    int m_seen = 0;
};

class CollectingSink final : public GenerationSink {
public:
    void promptStarted(std::int64_t, std::uint64_t) override {}
    void promptProgress(std::int64_t, std::int64_t) override {}
    void promptDone(const PromptStatistics&) override {}
    void tokenReady(const TokenChunk& chunk) override {
        m_text += chunk.text;
        if (onToken) onToken();
    }
    void modelMoved(const ModelInfo& model) override { moves.push_back(model); }
    [[nodiscard]] const std::string& text() const { return m_text; }

    std::function<void()> onToken;
    std::vector<ModelInfo> moves;

private:
    std::string m_text;
};

LoadRequest demoRequest(const std::string& device) {
    LoadRequest request;
    request.location.model = QLLAMA_RESOURCE_DIR "/demo-model";
    request.threadCount = 2;
    request.device = device;
    return request;
}

GenerationRequest greedy(std::int64_t tokens) {
    GenerationRequest request;
    request.prompt = "Once upon a time there was a";
    request.maxTokens = tokens;
    request.seed = 1;
    return request;
}

std::string cpuText(std::int64_t tokens) {
    GenerationSession session(std::move(loadModel(demoRequest("cpu"), {}, {})).value());
    CollectingSink sink;
    return session.generate(greedy(tokens), sink, {}).value().text;
}

std::vector<float> plainLogits(const LoadRequest& request,
                               const std::vector<std::int32_t>& prompt) {
    const Checkpoint checkpoint = std::move(openCheckpoint(request.location, {})).value();
    const LlamaConfig config = resolveConfig(checkpoint, std::nullopt).value();
    const auto backend = createReferenceBackend();
    std::vector<StageWeights> stages;
    stages.push_back(std::move(loadStage(*backend, checkpoint, config, request.precision, 0,
                                         config.layerCount, {}, {}))
                         .value());
    const auto transformer =
        std::move(Transformer::create(config, std::move(stages),
                                      {.contextLength = 64, .kvPrecision = KvPrecision::F32}))
            .value();
    return std::move(generate(*transformer, prompt, 0)).value().logits;
}

bool isSentenceAboutTheDevice(const Error& error) {
    return error.message.find("opencl:0") != std::string::npos && error.message.ends_with('.');
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
    void planNamesWhatIsUsed_data();
    void planNamesWhatIsUsed();
    void planOfRandomWeightsNamesWhatIsUsed();
    void smallDeviceGetsFewerLayers();
    void givenSplitIsNotChanged();
    void stopWhileLoadingIsCancelled();
    void failingDeviceIsLeftWhenAllowed();
    void missingDeviceIsLeftWhenAllowed();
    void textGoesOnWithoutTheDevice();
    void everyFaultWhileLoadingIsASentence();
    void everyFaultWhileGeneratingIsASentence();
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
    for (const std::int64_t length : {1, 2, 31, 512}) {
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
        for (const char* precision : {"f16", "f32", "q8", "q4"})
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
    // With quantised weights the CPU engine rounds the activations to 8 bits too and the devices do
    // not: they are held against plain loops over the same weights, and where the CPU takes part in
    // it, the text alone.
    const bool quantised = precision.startsWith('q');
    if (!quantised || !devices.contains("cpu")) {
        const float difference = largestDifference(
            got.value().logits, quantised ? plainLogits(request, prompt) : expected.value().logits);
        QVERIFY2(difference <= 2e-3F, qPrintable(QString::number(difference)));
    }
    QCOMPARE(got.value().tokens, expected.value().tokens);
}

void TestOpenClModel::planNamesWhatIsUsed_data() {
    QTest::addColumn<QString>("devices");
    QTest::addColumn<QString>("precision");
    for (const char* devices : {"opencl:0", "opencl:0,opencl:1", "opencl:1,cpu"})
        for (const char* precision : {"source", "f32", "q8", "q4"})
            QTest::addRow("%s %s", devices, precision) << devices << precision;
}

void TestOpenClModel::planNamesWhatIsUsed() {
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

void TestOpenClModel::planOfRandomWeightsNamesWhatIsUsed() {
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

void TestOpenClModel::failingDeviceIsLeftWhenAllowed() {
    LoadRequest request = demoRequest("opencl:0,opencl:1");
    request.split = {3, 3};
    {
        const FaultAt fault(opencl::FaultPoint::Enqueue, 0);
        const auto refused = loadModel(request, {}, {});
        QVERIFY(!refused.ok());
        QCOMPARE(refused.error().code, ErrorCode::Device);
    }
    int asked = 0;
    request.mayLeaveDevice = [&asked](const Error& error) {
        ++asked;
        return isSentenceAboutTheDevice(error);
    };
    for (const auto point : {opencl::FaultPoint::Enqueue, opencl::FaultPoint::Allocation}) {
        asked = 0;
        const FaultAt fault(point, 0);
        const auto model = loadModel(request, {}, {});
        QVERIFY2(model.ok(), model.ok() ? "" : model.error().text().c_str());
        QCOMPARE(asked, 1);
        const PlacementPlan& plan = model.value()->info.placement;
        QCOMPARE(plan.stages.size(), std::size_t{1});
        QCOMPARE(plan.stages.front().device.id, std::string("opencl:1"));
        QVERIFY(plan.notes.front().find("opencl:0") != std::string::npos);
    }
}

void TestOpenClModel::missingDeviceIsLeftWhenAllowed() {
    LoadRequest request = demoRequest("opencl:55");
    QVERIFY(!loadModel(request, {}, {}).ok());
    request.mayLeaveDevice = [](const Error&) { return false; };
    QVERIFY(!loadModel(request, {}, {}).ok());
    request.mayLeaveDevice = [](const Error&) { return true; };
    for (const char* devices : {"opencl:55", "opencl:55,cpu"}) {
        request.device = devices;
        const auto model = loadModel(request, {}, {});
        QVERIFY2(model.ok(), model.ok() ? "" : model.error().text().c_str());
        QCOMPARE(model.value()->info.device.id, std::string("cpu"));
        QVERIFY(model.value()->info.notes.back().find("opencl:55") != std::string::npos);
    }
}

void TestOpenClModel::textGoesOnWithoutTheDevice() {
    constexpr int kTokens = 24;
    const std::string expected = cpuText(kTokens);
    LoadRequest request = demoRequest("opencl:0");
    request.mayLeaveDevice = [](const Error&) { return true; };
    GenerationSession session(std::move(loadModel(request, {}, {})).value());
    CollectingSink sink;
    std::unique_ptr<FaultAt> fault;
    int tokens = 0;
    sink.onToken = [&] {
        if (++tokens == 10) fault = std::make_unique<FaultAt>(opencl::FaultPoint::Enqueue, 3);
    };
    const auto result = session.generate(greedy(kTokens), sink, {});
    fault.reset();
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().text().c_str());
    QCOMPARE(QString::fromStdString(sink.text()), QString::fromStdString(expected));
    QCOMPARE(sink.moves.size(), std::size_t{1});
    QCOMPARE(sink.moves.front().device.id, std::string("cpu"));
    QVERIFY(isSentenceAboutTheDevice({ErrorCode::Device, sink.moves.front().notes.back(), {}}));
    // And the next request has the CPU from the start.
    CollectingSink second;
    QCOMPARE(session.generate(greedy(kTokens), second, {}).value().text, expected);
    QVERIFY(second.moves.empty());
}

void TestOpenClModel::everyFaultWhileLoadingIsASentence() {
    LoadRequest request = demoRequest("opencl:0,cpu");
    request.split = {1, 5};
    request.precision = Precision::Q8;  // other weights stay in the file that is mapped
    request.needsTokenizer = false;
    for (const auto point : {opencl::FaultPoint::Enqueue, opencl::FaultPoint::Allocation})
        for (int number = 0;; ++number) {
            const FaultAt fault(point, number);
            const auto model = loadModel(request, {}, {});
            if (fault.seen() <= number) {
                QVERIFY(model.ok());
                QVERIFY(number > 3);
                break;
            }
            QVERIFY2(!model.ok(), qPrintable(QString("fault %1 went unnoticed").arg(number)));
            QVERIFY2(isSentenceAboutTheDevice(model.error()), model.error().message.c_str());
        }
}

void TestOpenClModel::everyFaultWhileGeneratingIsASentence() {
    constexpr int kTokens = 3;
    const std::string expected = cpuText(kTokens);
    GenerationSession session(std::move(loadModel(demoRequest("opencl:0"), {}, {})).value());
    // Nothing is kept of the prompt between two requests that begin differently.
    GenerationRequest other = greedy(0);
    other.prompt = "The";
    for (const auto point : {opencl::FaultPoint::Enqueue, opencl::FaultPoint::Allocation})
        for (int number = 0;; ++number) {
            CollectingSink sink;
            QVERIFY(session.generate(other, sink, {}).ok());
            const FaultAt fault(point, number);
            const auto result = session.generate(greedy(kTokens), sink, {});
            if (fault.seen() <= number) {
                QVERIFY(result.ok());
                QCOMPARE(result.value().text, expected);
                QVERIFY(point == opencl::FaultPoint::Allocation || number > 100);
                break;
            }
            QVERIFY2(!result.ok(), qPrintable(QString("fault %1 went unnoticed").arg(number)));
            QVERIFY2(isSentenceAboutTheDevice(result.error()), result.error().message.c_str());
        }
}

QTEST_GUILESS_MAIN(TestOpenClModel)
#include "test_opencl_model.moc"
