// The way from the window to the engine and back, with an engine that does what each test says.
#include <QElapsedTimer>
#include <QSignalSpy>
#include <QTest>
#include <new>
#include <semaphore>
#include <stdexcept>

#include "gui/window/engine_controller.h"
#include "tests/gui/scripted_engine.h"

using namespace qllama;
using State = EngineController::State;

namespace {

GenerationResult resultOf(StopReason reason, std::string text) {
    GenerationResult result;
    result.reason = reason;
    result.text = std::move(text);
    return result;
}

LoadRequest requestFor(const char* path) {
    LoadRequest request;
    request.location.model = path;
    return request;
}

QString joined(const QSignalSpy& tokens) {
    std::string text;
    for (const QList<QVariant>& arguments : tokens)
        for (const TokenChunk& chunk : arguments.at(1).value<QList<TokenChunk>>())
            text += chunk.text;
    return QString::fromStdString(text);
}

}  // namespace

class TestEngineController : public QObject {
    Q_OBJECT

private slots:
    void init() { m_script = std::make_shared<ScriptedEngine::Script>(); }

    void loadsAModel() {
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        QCOMPARE(controller.state(), State::Empty);
        QSignalSpy loaded(&controller, &EngineController::modelLoaded);
        QSignalSpy progress(&controller, &EngineController::loadProgress);
        const quint64 id = controller.load(requestFor("models/fable"));
        QCOMPARE(controller.state(), State::Loading);
        QVERIFY(loaded.wait());
        QCOMPARE(loaded.first().at(0).toULongLong(), id);
        QCOMPARE(progress.count(), 1);
        QCOMPARE(controller.state(), State::Ready);
        QCOMPARE(controller.model()->name, "fable");
    }

    void reportsAFailedLoadAndForgetsTheModel() {
        m_script->load = [](auto&&...) -> Result<ModelInfo> {
            return Error{ErrorCode::InvalidFile, "The file is damaged.", "x.pth"};
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        QSignalSpy failed(&controller, &EngineController::loadFailed);
        controller.load(requestFor("x.pth"));
        QVERIFY(failed.wait());
        QCOMPARE(failed.first().at(1).value<Error>().text(), "The file is damaged. (x.pth)");
        QCOMPARE(controller.state(), State::Empty);
    }

    void keepsTheModelThatTheEngineKept() {
        m_script->keepsModelOnFailure = true;
        m_script->load = [](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            if (request.location.model == "bad") return Error{ErrorCode::InvalidFile, "Bad.", {}};
            return ScriptedEngine::modelInfo(request);
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        loadAndWait(controller, "good");
        QSignalSpy failed(&controller, &EngineController::loadFailed);
        controller.load(requestFor("bad"));
        QVERIFY(failed.wait());
        QCOMPARE(controller.state(), State::Ready);
        QCOMPARE(controller.model()->name, "good");
    }

    void stopReachesALoadThatIsBusy() {
        m_script->load = [](auto&&, auto&&, const std::stop_token& stop) -> Result<ModelInfo> {
            waitForStop(stop);
            return cancelledError();
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        QSignalSpy failed(&controller, &EngineController::loadFailed);
        controller.load(requestFor("big"));
        controller.stop();
        QVERIFY(failed.wait());
        QCOMPARE(failed.first().at(1).value<Error>().code, ErrorCode::Cancelled);
        QCOMPARE(controller.state(), State::Empty);
    }

    void givesEveryTokenOnceAndInOrder() {
        constexpr int kTokens = 1000;
        m_script->generate = [](auto&&, GenerationSink& sink, auto&&) -> Result<GenerationResult> {
            sink.promptStarted(3, 42);
            sink.promptProgress(3, 3);
            sink.promptDone({});
            std::string text;
            for (int token = 0; token < kTokens; ++token) {
                sink.tokenReady(chunkOf(std::to_string(token) + " "));
                text += std::to_string(token) + " ";
            }
            return resultOf(StopReason::Length, text);
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        loadAndWait(controller, "m");
        QSignalSpy tokens(&controller, &EngineController::tokensReady);
        QSignalSpy started(&controller, &EngineController::promptStarted);
        QSignalSpy finished(&controller, &EngineController::generationFinished);
        QElapsedTimer elapsed;
        elapsed.start();
        const quint64 id = controller.generate({});
        QCOMPARE(controller.state(), State::Generating);
        QVERIFY(finished.wait());
        const auto result = finished.first().at(1).value<GenerationResult>();
        QCOMPARE(finished.first().at(0).toULongLong(), id);
        QCOMPARE(started.first().at(2).toULongLong(), 42ULL);
        QCOMPARE(joined(tokens), QString::fromStdString(result.text));
        QCOMPARE(tokens.first().at(1).value<QList<TokenChunk>>().size(), 1);
        QVERIFY2(tokens.count() <= 2 + elapsed.elapsed() / 66, "the tokens were not merged");
        QCOMPARE(controller.state(), State::Ready);
    }

    void stopReachesAGenerationThatIsBusyAndKeepsItsText() {
        std::binary_semaphore reached{0};
        m_script->generate = [&](auto&&, GenerationSink& sink,
                                 const std::stop_token& stop) -> Result<GenerationResult> {
            sink.tokenReady(chunkOf("Once"));
            sink.tokenReady(chunkOf(" upon"));
            reached.release();
            waitForStop(stop);
            return resultOf(StopReason::Cancelled, "Once upon");
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        loadAndWait(controller, "m");
        QSignalSpy tokens(&controller, &EngineController::tokensReady);
        QSignalSpy finished(&controller, &EngineController::generationFinished);
        controller.generate({});
        reached.acquire();
        controller.stop();
        QVERIFY(finished.wait());
        QCOMPARE(joined(tokens), "Once upon");
        QCOMPARE(finished.first().at(1).value<GenerationResult>().reason, StopReason::Cancelled);
    }

    void aNewLoadStopsTheGenerationAndDropsItsTokens() {
        std::binary_semaphore reached{0};
        m_script->generate = [&](auto&&, GenerationSink& sink,
                                 const std::stop_token& stop) -> Result<GenerationResult> {
            reached.release();
            waitForStop(stop);
            sink.tokenReady(chunkOf("late"));
            return resultOf(StopReason::Cancelled, "late");
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        loadAndWait(controller, "first");
        QSignalSpy tokens(&controller, &EngineController::tokensReady);
        QSignalSpy finished(&controller, &EngineController::generationFinished);
        QSignalSpy loaded(&controller, &EngineController::modelLoaded);
        const quint64 generation = controller.generate({});
        reached.acquire();
        controller.load(requestFor("second"));
        QCOMPARE(controller.state(), State::Loading);
        QVERIFY(loaded.wait());
        QCOMPARE(finished.count(), 1);
        QCOMPARE(finished.first().at(0).toULongLong(), generation);
        QCOMPARE(tokens.count(), 0);
        QCOMPARE(controller.model()->name, "second");
        QCOMPARE(controller.state(), State::Ready);
    }

    void aNewLoadStopsTheOneThatRuns() {
        std::binary_semaphore reached{0};
        m_script->load = [&](const LoadRequest& request, auto&&,
                             const std::stop_token& stop) -> Result<ModelInfo> {
            if (request.location.model != "slow") return ScriptedEngine::modelInfo(request);
            reached.release();
            waitForStop(stop);
            return cancelledError();
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        QSignalSpy loaded(&controller, &EngineController::modelLoaded);
        QSignalSpy failed(&controller, &EngineController::loadFailed);
        const quint64 slow = controller.load(requestFor("slow"));
        reached.acquire();
        controller.load(requestFor("quick"));
        QVERIFY(loaded.wait());
        QCOMPARE(failed.count(), 1);
        QCOMPARE(failed.first().at(0).toULongLong(), slow);
        QCOMPARE(controller.model()->name, "quick");
    }

    void aStopBeforeTheWorkerBeginsIsNotLost() {
        std::binary_semaphore go{0};
        m_script->load = [&](const LoadRequest& request, auto&&, auto&&) -> Result<ModelInfo> {
            go.acquire();
            return ScriptedEngine::modelInfo(request);
        };
        m_script->generate = [](auto&&, auto&&,
                                const std::stop_token& stop) -> Result<GenerationResult> {
            return resultOf(stop.stop_requested() ? StopReason::Cancelled : StopReason::Length, "");
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        QSignalSpy finished(&controller, &EngineController::generationFinished);
        controller.load(requestFor("m"));
        controller.generate({});  // waits in the queue behind the load
        controller.stop();
        go.release();
        QVERIFY(finished.wait());
        QCOMPARE(finished.first().at(1).value<GenerationResult>().reason, StopReason::Cancelled);
    }

    void whatTheEngineThrowsBecomesAnError_data() {
        QTest::addColumn<int>("kind");
        QTest::addColumn<QString>("text");
        QTest::newRow("bad_alloc") << 0 << "not enough memory";
        QTest::newRow("exception") << 1 << "the cat sat on it";
        QTest::newRow("anything") << 2 << "unknown reason";
    }
    void whatTheEngineThrowsBecomesAnError() {
        QFETCH(int, kind);
        QFETCH(QString, text);
        const auto fail = [kind] {
            if (kind == 0) throw std::bad_alloc();
            if (kind == 1) throw std::runtime_error("the cat sat on it");
            throw 5;
        };
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        loadAndWait(controller, "m");
        m_script->load = [&](auto&&...) -> Result<ModelInfo> {
            fail();
            return ModelInfo{};
        };
        m_script->generate = [&](auto&&...) -> Result<GenerationResult> {
            fail();
            return GenerationResult{};
        };
        QSignalSpy generationFailed(&controller, &EngineController::generationFailed);
        QSignalSpy loadFailed(&controller, &EngineController::loadFailed);
        controller.generate({});
        QVERIFY(generationFailed.wait());
        QVERIFY(generationFailed.first().at(1).value<Error>().message.find(text.toStdString()) !=
                std::string::npos);
        QCOMPARE(controller.state(), State::Ready);
        controller.load(requestFor("n"));
        QVERIFY(loadFailed.wait());
        QVERIFY(loadFailed.first().at(1).value<Error>().message.find(text.toStdString()) !=
                std::string::npos);
    }

    void aMeasurementMakesWay_data() {
        QTest::addColumn<int>("forWhat");
        QTest::newRow("for a run") << 0;
        QTest::newRow("for a load") << 1;
        QTest::newRow("for stop") << 2;
        QTest::newRow("for the end") << 3;
    }
    void aMeasurementMakesWay() {
        QFETCH(int, forWhat);
        std::binary_semaphore reached{0};
        m_script->measure = [&](const std::stop_token& stop) -> Result<double> {
            reached.release();
            waitForStop(stop);
            return cancelledError();
        };
        auto controller =
            std::make_unique<EngineController>(std::make_unique<ScriptedEngine>(m_script));
        loadAndWait(*controller, "m");
        QSignalSpy cancelled(controller.get(), &EngineController::bandwidthCancelled);
        QSignalSpy measured(controller.get(), &EngineController::bandwidthMeasured);
        QSignalSpy finished(controller.get(), &EngineController::generationFinished);
        controller->measureBandwidth();
        reached.acquire();
        if (forWhat == 0) controller->generate({});
        if (forWhat == 1) controller->load(requestFor("n"));
        if (forWhat == 2) controller->stop();
        if (forWhat == 3) return controller.reset();  // and does not hang
        QTRY_COMPARE(cancelled.count(), 1);
        QCOMPARE(measured.count(), 0);
        QTRY_COMPARE(controller->state(), State::Ready);
        QCOMPARE(finished.count(), forWhat == 0 ? 1 : 0);
    }

    void unloadsTheModel() {
        EngineController controller(std::make_unique<ScriptedEngine>(m_script));
        loadAndWait(controller, "m");
        QSignalSpy states(&controller, &EngineController::stateChanged);
        controller.unload();
        QVERIFY(states.wait());
        QCOMPARE(controller.state(), State::Empty);
        QVERIFY(!controller.model());
    }

    void quittingInTheMiddleJoins_data() {
        QTest::addColumn<bool>("loading");
        QTest::newRow("of a load") << true;
        QTest::newRow("of a generation") << false;
    }
    void quittingInTheMiddleJoins() {
        QFETCH(bool, loading);
        std::binary_semaphore reached{0};
        bool left = false;
        const auto block = [&](const std::stop_token& stop) {
            reached.release();
            waitForStop(stop);
            left = true;  // read after the join: a thread still running here would be a race
        };
        {
            EngineController controller(std::make_unique<ScriptedEngine>(m_script));
            loadAndWait(controller, "m");
            m_script->load = [&](auto&&, auto&&, const std::stop_token& stop) -> Result<ModelInfo> {
                block(stop);
                return cancelledError();
            };
            m_script->generate = [&](auto&&, auto&&,
                                     const std::stop_token& stop) -> Result<GenerationResult> {
                block(stop);
                return resultOf(StopReason::Cancelled, "");
            };
            loading ? controller.load(requestFor("n")) : controller.generate({});
            reached.acquire();
        }
        QVERIFY(left);
    }

    // A plan that is still being made may ask when the window, and with it the engine, is gone.
    void theQuestionOutlivesTheEngine() {
        auto controller =
            std::make_unique<EngineController>(std::make_unique<ScriptedEngine>(m_script));
        const auto ask = controller->deviceQuestion();
        QVERIFY(!ask({}));
        controller.reset();
        QVERIFY(!ask({}));
    }

private:
    static void loadAndWait(EngineController& controller, const char* path) {
        QSignalSpy loaded(&controller, &EngineController::modelLoaded);
        controller.load(requestFor(path));
        QVERIFY(loaded.wait());
    }

    std::shared_ptr<ScriptedEngine::Script> m_script;
};

QTEST_GUILESS_MAIN(TestEngineController)
#include "test_engine_controller.moc"
