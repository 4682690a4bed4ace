// Where the layers of a model go on OpenCL devices, and what follows when a device has less memory than
// it says, or fails.
#include <QtTest>
#include <functional>
#include <map>
#include <memory>

#include "engine/backend/opencl/fault_injection.h"
#include "engine/session/generation_session.h"
#include "tests/unit/opencl/whole_models.h"

using namespace qllama;
using namespace qllama::test;

namespace {

constexpr int kOutOfMemory = -4;     // CL_MEM_OBJECT_ALLOCATION_FAILURE
constexpr int kOutOfResources = -5;  // CL_OUT_OF_RESOURCES

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

GenerationRequest greedy(std::int64_t tokens) {
    GenerationRequest request;
    request.prompt = "Once upon a time there was a";
    request.maxTokens = tokens;
    request.seed = 1;
    return request;
}

std::string cpuText(std::int64_t tokens, Precision precision = Precision::Source) {
    LoadRequest request = demoRequest("cpu");
    request.precision = precision;
    GenerationSession session(std::move(loadModel(request, {}, {})).value());
    CollectingSink sink;
    return session.generate(greedy(tokens), sink, {}).value().text;
}

bool isSentenceAboutTheDevice(const Error& error) {
    return error.message.find("opencl:0") != std::string::npos && error.message.ends_with('.');
}

}  // namespace

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
    void failingDeviceIsLeftWhenAllowed();
    void missingDeviceIsLeftWhenAllowed();
    void textGoesOnWithoutTheDevice();
    void otherDevicesKeepTheirLayers();
    void everyFaultWhileLoadingIsASentence_data();
    void everyFaultWhileLoadingIsASentence();
    void everyFaultWhileGeneratingIsASentence_data();
    void everyFaultWhileGeneratingIsASentence();
    void modelMayGoAfterAFailure();
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

void TestOpenClPlacement::failingDeviceIsLeftWhenAllowed() {
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

void TestOpenClPlacement::missingDeviceIsLeftWhenAllowed() {
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

void TestOpenClPlacement::textGoesOnWithoutTheDevice() {
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

void TestOpenClPlacement::otherDevicesKeepTheirLayers() {
    constexpr int kTokens = 24;
    const std::string expected = cpuText(kTokens);
    LoadRequest request = demoRequest("opencl:0,opencl:1");
    request.split = {2, 4};
    request.mayLeaveDevice = [](const Error&) { return true; };
    GenerationSession session(std::move(loadModel(request, {}, {})).value());
    CollectingSink sink;
    std::string failing;
    int allocations = 0;
    opencl::setFaultHook([&](opencl::FaultPoint point, const std::string& id, std::int64_t) {
        if (point == opencl::FaultPoint::Allocation) ++allocations;
        return point == opencl::FaultPoint::Enqueue && id == failing ? kOutOfResources : 0;
    });
    const auto restore = qScopeGuard([] { opencl::setFaultHook({}); });
    int tokens = 0;
    sink.onToken = [&] {
        ++tokens;
        if (tokens == 8) {
            failing = "opencl:0";
            allocations = 0;
        }
        if (tokens == 16) failing = "opencl:1";
    };
    const auto result = session.generate(greedy(kTokens), sink, {});
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().text().c_str());
    QCOMPARE(QString::fromStdString(sink.text()), QString::fromStdString(expected));
    QCOMPARE(allocations, 0);  // opencl:1 loaded nothing again
    const std::vector<std::vector<std::string>> places = {{"cpu", "opencl:1"}, {"cpu"}};
    QCOMPARE(sink.moves.size(), places.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
        const auto& stages = sink.moves[i].placement.stages;
        QCOMPARE(stages.size(), places[i].size());
        for (std::size_t k = 0; k < stages.size(); ++k)
            QCOMPARE(stages[k].device.id, places[i][k]);
    }
    QCOMPARE(sink.moves.front().placement.stages.front().layerCount, 2);
    QVERIFY(sink.moves.front().notes.back().find("opencl:0") != std::string::npos);
    QVERIFY(sink.moves.back().notes.back().find("opencl:1") != std::string::npos);
}

void TestOpenClPlacement::everyFaultWhileLoadingIsASentence_data() {
    QTest::addColumn<QString>("precision");
    QTest::addColumn<int>("fewest");  // of commands; f16 stays where it is mapped, and so do tiles
    QTest::newRow("f32") << "f32" << 4;
    QTest::newRow("q8") << "q8" << 3;
    QTest::newRow("q4") << "q4" << 3;
}

void TestOpenClPlacement::everyFaultWhileLoadingIsASentence() {
    QFETCH(QString, precision);
    QFETCH(int, fewest);
    LoadRequest request = demoRequest("opencl:0,cpu");
    request.split = {1, 5};
    request.precision = precisionFromKey(precision.toStdString()).value();
    request.needsTokenizer = false;
    for (const auto point : {opencl::FaultPoint::Enqueue, opencl::FaultPoint::Allocation})
        for (int number = 0;; ++number) {
            const FaultAt fault(point, number);
            const auto model = loadModel(request, {}, {});
            if (fault.seen() <= number) {
                QVERIFY(model.ok());
                QVERIFY(number >= fewest);
                break;
            }
            QVERIFY2(!model.ok(), qPrintable(QString("fault %1 went unnoticed").arg(number)));
            QVERIFY2(isSentenceAboutTheDevice(model.error()), model.error().message.c_str());
        }
}

void TestOpenClPlacement::everyFaultWhileGeneratingIsASentence_data() {
    QTest::addColumn<QString>("precision");
    for (const char* precision : {"source", "q8"})
        QTest::newRow(precision) << precision;
}

void TestOpenClPlacement::everyFaultWhileGeneratingIsASentence() {
    QFETCH(QString, precision);
    constexpr int kTokens = 3;
    LoadRequest request = demoRequest("opencl:0");
    request.precision = precisionFromKey(precision.toStdString()).value();
    const std::string expected = cpuText(kTokens, request.precision);
    GenerationSession session(std::move(loadModel(request, {}, {})).value());
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

// What the device was told before may still be running: it must not find the weights gone.
void TestOpenClPlacement::modelMayGoAfterAFailure() {
    for (int number = 40; number < 140; number += 9) {
        GenerationSession session(std::move(loadModel(demoRequest("opencl:0"), {}, {})).value());
        CollectingSink sink;
        const FaultAt fault(opencl::FaultPoint::Enqueue, number);
        QVERIFY(!session.generate(greedy(8), sink, {}).ok());
    }
}

QTEST_GUILESS_MAIN(TestOpenClPlacement)
#include "test_opencl_placement.moc"
