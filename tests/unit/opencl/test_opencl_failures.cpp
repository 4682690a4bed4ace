// What follows when an OpenCL device fails, while a model is loaded and in the middle of a text.
#include <QtTest>
#include <chrono>
#include <memory>
#include <optional>
#include <tuple>

#include "tests/unit/opencl/faults.h"

using namespace qllama;
using namespace qllama::test;

class TestOpenClFailures : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void failingDeviceIsLeftWhenAllowed();
    void missingDeviceIsLeftWhenAllowed();
    void textGoesOnWithoutTheDevice();
    void computingAgainIsReported();
    void timeToAnswerIsNoTimeOfTheText();
    void otherDevicesKeepTheirLayers();
    void everyFaultWhileLoadingIsASentence_data();
    void everyFaultWhileLoadingIsASentence();
    void everyFaultWhileGeneratingIsASentence_data();
    void everyFaultWhileGeneratingIsASentence();
    void aPromptThatFailedIsNotBuiltUpon_data();
    void aPromptThatFailedIsNotBuiltUpon();
    void modelMayGoAfterAFailure();
};

void TestOpenClFailures::initTestCase() {
    QVERIFY2(offersTwoDevices(),
             "Two OpenCL devices are needed: install pocl-opencl-icd to run these tests.");
}

void TestOpenClFailures::failingDeviceIsLeftWhenAllowed() {
    const auto pair = pairOfProcessors();
    LoadRequest request = demoRequest(pair[0] + "," + pair[1]);
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
        QCOMPARE(plan.stages.front().device.id, pair[1]);
        QVERIFY(plan.notes.front().find(pair[0]) != std::string::npos);
    }
}

void TestOpenClFailures::missingDeviceIsLeftWhenAllowed() {
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

void TestOpenClFailures::textGoesOnWithoutTheDevice() {
    constexpr int kTokens = 24;
    const std::string expected = cpuText(kTokens);
    LoadRequest request = demoRequest("opencl:0");
    request.mayLeaveDevice = [](const Error&) { return true; };
    GenerationSession session(std::move(loadModel(request, {}, {})).value());
    CollectingSink sink;
    std::optional<FaultAfter> fault(std::in_place, sink, 10);
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

void TestOpenClFailures::computingAgainIsReported() {
    for (const int tokensBefore : {0, 3}) {
        LoadRequest request = demoRequest("opencl:0");
        request.mayLeaveDevice = [](const Error&) { return true; };
        GenerationSession session(std::move(loadModel(request, {}, {})).value());
        CollectingSink sink;
        const FaultAfter fault(sink, tokensBefore);
        const auto result = session.generate(greedy(6), sink, {});
        QVERIFY(result.ok());
        const auto all = static_cast<std::int64_t>(result.value().statistics.prompt.tokens.size()) +
                         tokensBefore;
        using Progress = std::pair<std::int64_t, std::int64_t>;
        QCOMPARE(sink.recomputed.front(), Progress(0, all));
        QCOMPARE(sink.recomputed.back(), Progress(all, all));
    }
}

// What is told of the tokens and the time that the answer took fit into the time that passed.
void TestOpenClFailures::timeToAnswerIsNoTimeOfTheText() {
    using Clock = std::chrono::steady_clock;
    using Milliseconds = std::chrono::duration<double, std::milli>;
    for (const int tokensBefore : {0, 3}) {
        Milliseconds answering{};
        LoadRequest request = demoRequest("opencl:0");
        request.mayLeaveDevice = [&answering](const Error&) {
            const auto asked = Clock::now();
            std::ignore = cpuText(64);  // somebody is busy
            answering += Clock::now() - asked;
            return true;
        };
        GenerationSession session(std::move(loadModel(request, {}, {})).value());
        CollectingSink sink;
        const FaultAfter fault(sink, tokensBefore);
        const auto start = Clock::now();
        const auto result = session.generate(greedy(6), sink, {});
        const Milliseconds passed = Clock::now() - start;
        QVERIFY(result.ok());
        QCOMPARE(sink.moves.size(), std::size_t{1});
        QVERIFY(answering.count() > 0);
        QVERIFY(sink.ms() <= (passed - answering).count());
        QVERIFY(result.value().statistics.prompt.ms <= sink.ms());
    }
}

void TestOpenClFailures::otherDevicesKeepTheirLayers() {
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

void TestOpenClFailures::everyFaultWhileLoadingIsASentence_data() {
    QTest::addColumn<QString>("precision");
    QTest::addColumn<int>("fewest");  // of commands; f16 stays where it is mapped, and so do tiles
    QTest::newRow("f32") << "f32" << 4;
    QTest::newRow("q8") << "q8" << 3;
    QTest::newRow("q4") << "q4" << 3;
}

void TestOpenClFailures::everyFaultWhileLoadingIsASentence() {
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

void TestOpenClFailures::everyFaultWhileGeneratingIsASentence_data() {
    QTest::addColumn<QString>("precision");
    for (const char* precision : {"source", "q8"})
        QTest::newRow(precision) << precision;
}

void TestOpenClFailures::everyFaultWhileGeneratingIsASentence() {
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

void TestOpenClFailures::aPromptThatFailedIsNotBuiltUpon_data() {
    QTest::addColumn<bool>("stopped");
    QTest::newRow("failed") << false;
    QTest::newRow("stopped before that showed") << true;
}

// In its first batch, of which the device tells only with the last one's logits.
void TestOpenClFailures::aPromptThatFailedIsNotBuiltUpon() {
    QFETCH(const bool, stopped);
    GenerationRequest request = greedy(8);
    for (int sentence = 0; sentence < 180; ++sentence)
        request.prompt += " boy and a girl, and there was a";
    LoadRequest load = demoRequest("opencl:0");
    load.contextLength = 4096;
    CollectingSink sink;
    const auto textOn = [&](const LoadRequest& asked) {
        GenerationSession session(std::move(loadModel(asked, {}, {})).value());
        return session.generate(request, sink, {}).value().text;
    };
    const std::string expected = textOn(load);
    GenerationSession session(std::move(loadModel(load, {}, {})).value());
    std::stop_source stop;
    if (stopped)
        sink.onPrompt = [&stop](std::int64_t done, std::int64_t total) {
            if (2 * done > total) stop.request_stop();
        };
    {
        const FaultAt fault(opencl::FaultPoint::Enqueue, 30);
        const auto failed = session.generate(request, sink, stop.get_token());
        QVERIFY(fault.seen() > 30);
        QCOMPARE(failed.ok(), stopped);
    }
    sink.onPrompt = {};
    const auto again = session.generate(request, sink, {});
    QVERIFY(again.ok());
    QVERIFY(again.value().statistics.prompt.tokens.size() > 1024);
    QCOMPARE(QString::fromStdString(again.value().text), QString::fromStdString(expected));
}

// What the device was told before may still be running: it must not find the weights gone.
void TestOpenClFailures::modelMayGoAfterAFailure() {
    for (int number = 40; number < 140; number += 9) {
        GenerationSession session(std::move(loadModel(demoRequest("opencl:0"), {}, {})).value());
        CollectingSink sink;
        const FaultAt fault(opencl::FaultPoint::Enqueue, number);
        QVERIFY(!session.generate(greedy(8), sink, {}).ok());
    }
}

QTEST_GUILESS_MAIN(TestOpenClFailures)
#include "test_opencl_failures.moc"
