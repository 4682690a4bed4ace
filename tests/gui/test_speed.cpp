// The speed of a run: the figures from what the engine measured, and a view that costs nothing when
// nobody looks or nothing happens.
#include <QSignalSpy>
#include <QTest>
#include <QToolButton>
#include <semaphore>

#include "gui/window/application.h"
#include "gui/window/figure_tile.h"
#include "gui/window/process_memory.h"
#include "gui/window/speed_history.h"
#include "gui/window/speed_plot.h"
#include "gui/window/speed_view.h"
#include "tests/gui/scripted_engine.h"

using namespace qllama;
using State = EngineController::State;

namespace {

QList<TokenChunk> chunksOf(std::initializer_list<double> times) {
    QList<TokenChunk> chunks;
    for (const double ms : times)
        chunks.append(chunkOf("x", 0.5F, ms));
    return chunks;
}

}  // namespace

class TestSpeed : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() { m_script = std::make_shared<ScriptedEngine::Script>(); }

    void figuresComeFromTheTokens() {
        SpeedHistory history;
        history.reset(
            {.weightBytesPerToken = 1000, .contextBytesPerToken = 10, .contextLength = 64});
        history.promptStarted(4);
        PromptStatistics prompt;
        prompt.ms = 30;
        prompt.tokensPerSecond = 133;
        history.promptDone(prompt);
        QCOMPARE(history.figures().medianMs, 0.0);
        // The first token's time contains the prompt's and counts for the first token only.
        history.addTokens(chunksOf({35, 10, 10, 10, 10}));
        history.addTokens(chunksOf({10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 50}));
        const SpeedFigures figures = history.figures();
        QCOMPARE(history.tokenMs().size(), 19U);
        QCOMPARE(figures.medianMs, 10.0);
        QCOMPARE(figures.percentile95Ms, 50.0);
        QCOMPARE(figures.firstTokenMs, 35.0);
        QCOMPARE(figures.promptTokensPerSecond, 133.0);
        QCOMPARE(figures.contextUsed, 24);
        QCOMPARE(figures.contextLength, 64);
        const double meanMs = (18 * 10 + 50) / 19.0;
        QCOMPARE(figures.tokensPerSecond, 1000 / meanMs);
        QCOMPARE(figures.bytesPerSecond, (1000 + 10 * 24) / meanMs * 1000);
        GenerationStatistics statistics;
        statistics.firstTokenMs = 36;
        statistics.contextUsed = 23;
        history.finish(statistics);
        QCOMPARE(history.figures().firstTokenMs, 36.0);
        QCOMPARE(history.figures().contextUsed, 23);
        history.reset({});
        QVERIFY(history.tokenMs().empty());
        QCOMPARE(history.figures().firstTokenMs, 0.0);
    }

    // The time that the given share of the tokens did not exceed.
    void percentilesAreTimesThatOccurred() {
        SpeedHistory history;
        history.reset({});
        history.addTokens(chunksOf({99}));
        for (int ms = 20; ms >= 1; --ms)
            history.addTokens(chunksOf({static_cast<double>(ms)}));
        QCOMPARE(history.figures().medianMs, 10.0);
        QCOMPARE(history.figures().percentile95Ms, 19.0);
    }

    // "Now" is the last second: a slow beginning is forgotten, the median remembers it.
    void nowIsTheLastSecond() {
        SpeedHistory history;
        history.reset({});
        history.addTokens(chunksOf({1}));
        for (int token = 0; token < 50; ++token)
            history.addTokens(chunksOf({200}));
        for (int token = 0; token < 40; ++token)
            history.addTokens(chunksOf({25}));
        QCOMPARE(history.figures().tokensPerSecond, 40.0);
        QCOMPARE(history.figures().medianMs, 200.0);
    }

    void thePromptHasProgressAndTimeLeft() {
        SpeedHistory history;
        history.reset({});
        history.promptStarted(1000);
        history.promptProgress(0, 0);
        QCOMPARE(history.figures().promptTokensPerSecond, 0.0);
        history.promptProgress(250, 500);
        QCOMPARE(history.figures().promptDone, 250);
        QCOMPARE(history.figures().contextUsed, 250);
        QCOMPARE(history.figures().promptTokensPerSecond, 500.0);
        QCOMPARE(history.figures().promptSecondsLeft, 1.5);
        history.promptDone({});
        QCOMPARE(history.figures().promptSecondsLeft, 0.0);
        QCOMPARE(history.figures().promptDone, 1000);
    }

    // Tokens that an earlier run left in the context were not computed.
    void whatIsKnownOfThePromptIsNotCountedAsSpeed() {
        SpeedHistory history;
        history.reset({});
        history.promptStarted(1000);
        history.promptProgress(600, 0);
        history.promptProgress(700, 500);
        QCOMPARE(history.figures().promptTokensPerSecond, 200.0);
        QCOMPARE(history.figures().promptSecondsLeft, 1.5);
    }

    void theProgramHasMemory() {
        const auto bytes = residentBytes();
        QVERIFY(bytes && *bytes > 1 << 20);
    }

    void showsARun() {
        m_script->load = modelWithSizes;
        m_script->generate = [](auto&&, GenerationSink& sink, auto&&) -> Result<GenerationResult> {
            sink.promptStarted(3, 1);
            PromptStatistics prompt;
            prompt.ms = 18;
            prompt.tokensPerSecond = 166.4;
            sink.promptDone(prompt);
            for (int token = 0; token < 101; ++token)
                sink.tokenReady(chunkOf("x", 0.5F, 20));
            GenerationResult result;
            result.statistics.firstTokenMs = 9.998;
            result.statistics.contextUsed = 104;
            return result;
        };
        EngineController engine(std::make_unique<ScriptedEngine>(m_script));
        SpeedView view(engine);
        view.show();
        loadAndWait(engine);
        QSignalSpy finished(&engine, &EngineController::generationFinished);
        engine.generate({});
        QVERIFY(finished.wait());
        QTRY_COMPARE(value(view, "Tokens/s now"), "50.0");
        QTRY_COMPARE(value(view, "Context used"), "104 / 512");
        QCOMPARE(value(view, "Median / 95 %"), "20.0 / 20.0 ms");
        QCOMPARE(value(view, "First token"), "10.0 ms");
        QCOMPARE(value(view, "Prompt"), "166 tokens/s");
        QCOMPARE(value(view, "Memory read"), "20.0 GB/s");  // 0.4 GB in 20 ms
        QTRY_COMPARE(value(view, "Of 50.0 GB/s"), "40 %");
        QCOMPARE(view.findChild<SpeedPlot*>()->pointCount(), 100);
        QCOMPARE(view.findChild<SpeedPlot*>()->farPointCount(), 0);
    }

    // The engine still holds the context of the run before, and the status bar says so too.
    void aRefusedPromptLeavesTheFiguresAlone() {
        m_script->generate = [](const GenerationRequest& request, GenerationSink& sink,
                                auto&&) -> Result<GenerationResult> {
            if (request.prompt == "long") return Error{ErrorCode::InvalidRequest, "Too long.", {}};
            sink.promptStarted(3, 1);
            GenerationResult result;
            result.statistics.contextUsed = 42;
            return result;
        };
        EngineController engine(std::make_unique<ScriptedEngine>(m_script));
        SpeedView view(engine);
        view.show();
        loadAndWait(engine);
        engine.generate({});
        QTRY_COMPARE(value(view, "Context used"), "42 / 512");
        QSignalSpy failed(&engine, &EngineController::generationFailed);
        GenerationRequest tooLong;
        tooLong.prompt = "long";
        engine.generate(tooLong);
        QVERIFY(failed.wait());
        QTest::qWait(300);  // for what may be drawn late
        QCOMPARE(value(view, "Context used"), "42 / 512");
    }

    void showsHowFarThePromptIs() {
        std::binary_semaphore reached{0};
        m_script->generate = [&](auto&&, GenerationSink& sink,
                                 const std::stop_token& stop) -> Result<GenerationResult> {
            sink.promptStarted(400, 1);
            sink.promptProgress(0, 400);
            reached.release();
            waitForStop(stop);
            sink.promptProgress(400, 400);
            return GenerationResult{};
        };
        EngineController engine(std::make_unique<ScriptedEngine>(m_script));
        SpeedView view(engine);
        view.show();
        loadAndWait(engine);
        QSignalSpy progress(&engine, &EngineController::promptProgress);
        engine.generate({});
        reached.acquire();
        QTRY_COMPARE(progress.count(), 1);
        emit engine.promptProgress(0, 100, 400);
        QTRY_VERIFY(captionStartingWith(view, "Prompt").contains("25 %"));
        QVERIFY(captionStartingWith(view, "Prompt").contains("left"));
        QVERIFY(value(view, captionStartingWith(view, "Prompt")).endsWith("tokens/s"));
        emit engine.deviceFailed(0, {});  // and nobody knows when it will be answered
        QTRY_COMPARE(captionStartingWith(view, "Prompt"), "Prompt");
        emit engine.promptProgress(0, 200, 400);
        QTRY_VERIFY(captionStartingWith(view, "Prompt").contains("50 %"));
        engine.stop();
        QTRY_COMPARE(captionStartingWith(view, "Prompt"), "Prompt");
    }

    void memoryAndContextFollowTheModel() {
        std::binary_semaphore reached{0};
        m_script->load = [&](const LoadRequest& request, const LoadProgressSink& progress,
                             const std::stop_token&) -> Result<ModelInfo> {
            progress({1, 2});
            reached.acquire();
            return ScriptedEngine::modelInfo(request);
        };
        EngineController engine(std::make_unique<ScriptedEngine>(m_script));
        SpeedView view(engine);
        view.show();
        const int before = view.redrawCount();
        QSignalSpy loaded(&engine, &EngineController::modelLoaded);
        engine.load({});
        QTRY_VERIFY(view.redrawCount() > before);  // memory, while it grows
        reached.release();
        QVERIFY(loaded.wait());
        QTRY_COMPARE(value(view, "Context used"), "0 / 512");
        engine.unload();
        QTRY_COMPARE(value(view, "Context used"), u"–");
    }

    // The plot stays as high as most tokens need; the slow ones are not drawn as faster ones.
    void slowTokensAreMarkedAtTheEdge() {
        SpeedPlot plot;
        std::vector<double> times(100, 10.0);
        times[40] = times[41] = 500;
        plot.showTimes(times, 10, 10);
        QCOMPARE(plot.pointCount(), 100);
        QCOMPARE(plot.farPointCount(), 2);
        plot.showTimes({}, 0, 0);
        QCOMPARE(plot.pointCount(), 0);
        plot.showTimes(std::vector<double>(SpeedPlot::kMostPoints + 50, 10.0), 10, 10);
        QCOMPARE(plot.pointCount(), SpeedPlot::kMostPoints);
    }

    void thePlotIsReadableWhenTokensTakeSeconds() {
        SpeedPlot plot;
        plot.resize(400, 150);
        plot.showTimes(std::vector<double>(100, 1500.0), 1500, 1500);
        const QStringList labels = plot.timeLabels();
        QVERIFY2(labels.contains("1,000"), qPrintable(labels.join(u' ')));
        for (const QString& label : labels)
            QVERIFY2(!label.contains(u'·') && !label.contains(u'e'), qPrintable(label));
        QVERIFY(plot.namesAreBesideThePoints());
    }

    void eachDeviceIsComparedWithItsOwnMemory() {
        std::string device = "opencl:0";
        m_script->load = [&](const LoadRequest& request, auto&& progress,
                             auto&& stop) -> Result<ModelInfo> {
            auto info = modelWithSizes(request, progress, stop);
            info.value().device.id = device;
            return info;
        };
        m_script->generate = [](auto&&, GenerationSink& sink, auto&&) -> Result<GenerationResult> {
            for (int token = 0; token < 3; ++token)
                sink.tokenReady(chunkOf("x", 0.5F, 20));
            return GenerationResult{};
        };
        EngineController engine(std::make_unique<ScriptedEngine>(m_script));
        SpeedView view(engine);
        view.show();
        loadAndWait(engine);
        QSignalSpy measured(&engine, &EngineController::bandwidthMeasured);
        QSignalSpy finished(&engine, &EngineController::generationFinished);
        engine.generate({});
        QVERIFY(finished.wait());
        QTRY_COMPARE(value(view, "Memory read"), "20.0 GB/s");
        QTRY_COMPARE(value(view, "Of 50.0 GB/s"), u"40 %");
        m_script->bandwidthGbPerSecond = 80;
        device = "cpu";
        loadAndWait(engine);
        QTRY_COMPARE(measured.count(), 2);
        device = "opencl:0";  // what was measured for another device says nothing of this one
        loadAndWait(engine);
        QTRY_COMPARE(measured.count(), 3);
    }

    void measuresWhenSomebodyLooksAndOnDemand() {
        m_script->load = modelWithSizes;
        EngineController engine(std::make_unique<ScriptedEngine>(m_script));
        SpeedView view(engine);
        QSignalSpy measured(&engine, &EngineController::bandwidthMeasured);
        auto* button = view.findChild<QToolButton*>("measureBandwidth");
        QVERIFY(!button->isEnabled());  // without a model
        loadAndWait(engine);
        QCOMPARE(measured.count(), 0);
        view.show();
        QVERIFY(measured.wait());
        QVERIFY(button->isEnabled());
        m_script->bandwidthGbPerSecond = 25;
        QTest::mouseClick(button, Qt::LeftButton);
        QVERIFY(!button->isEnabled());
        QVERIFY(measured.wait());
        QCOMPARE(measured.last().at(0).toDouble(), 25.0);
        QVERIFY(button->isEnabled());
        view.hide();
        view.show();  // known already
        QCOMPARE(measured.count(), 2);
    }

    void aMeasurementThatMadeWayIsMadeUpFor() {
        std::binary_semaphore reached{0};
        bool first = true;
        m_script->load = modelWithSizes;
        m_script->measure = [&](const std::stop_token& stop) -> Result<double> {
            if (!std::exchange(first, false)) return 40.0;
            reached.release();
            waitForStop(stop);
            return cancelledError();
        };
        EngineController engine(std::make_unique<ScriptedEngine>(m_script));
        SpeedView view(engine);
        view.show();
        QSignalSpy measured(&engine, &EngineController::bandwidthMeasured);
        QSignalSpy finished(&engine, &EngineController::generationFinished);
        loadAndWait(engine);
        reached.acquire();
        engine.generate({});
        QVERIFY(measured.wait());
        QCOMPARE(measured.last().at(0).toDouble(), 40.0);
        QCOMPARE(finished.count(), 1);
        QVERIFY(view.findChild<QToolButton*>("measureBandwidth")->isEnabled());
    }

    void drawsSeldomAndNeverForNobody() {
        constexpr int kTokens = 400;
        std::counting_semaphore<> go{0};
        m_script->generate = [&](auto&&, GenerationSink& sink, auto&&) -> Result<GenerationResult> {
            for (int token = 0; token < kTokens; ++token) {
                if (token % 10 == 0) go.acquire();
                sink.tokenReady(chunkOf("x", 0.5F, 1));
            }
            return GenerationResult{};
        };
        EngineController engine(std::make_unique<ScriptedEngine>(m_script));
        SpeedView view(engine);
        view.show();
        QVERIFY(QTest::qWaitForWindowExposed(&view));
        loadAndWait(engine);
        QSignalSpy finished(&engine, &EngineController::generationFinished);
        const auto run = [&] {
            finished.clear();
            engine.generate({});
            while (finished.isEmpty()) {
                go.release();
                QTest::qWait(5);
            }
        };
        QElapsedTimer elapsed;
        elapsed.start();
        const int before = view.redrawCount();
        run();
        QTRY_VERIFY(view.redrawCount() > before);  // a short run lies within one pause
        QVERIFY(view.redrawCount() - before <= 2 + elapsed.elapsed() / 100);
        view.hide();
        const int hidden = view.redrawCount();
        run();
        QCOMPARE(view.redrawCount(), hidden);
        view.show();
        QVERIFY(view.redrawCount() > hidden);
        // Idle: the last change is drawn, then nothing stirs.
        QTRY_VERIFY(!timerRuns(view));
        QCOMPARE(view.redrawCount(), hidden + 1);
    }

private:
    static Result<ModelInfo> modelWithSizes(const LoadRequest& request, const LoadProgressSink&,
                                            const std::stop_token&) {
        ModelInfo info = ScriptedEngine::modelInfo(request);
        info.bytesPerToken = 400'000'000;
        return info;
    }
    static void loadAndWait(EngineController& engine) {
        QSignalSpy loaded(&engine, &EngineController::modelLoaded);
        engine.load({});
        QVERIFY(loaded.wait());
    }
    static QString value(const SpeedView& view, const QString& caption) {
        for (const FigureTile* tile : view.findChildren<FigureTile*>())
            if (tile->caption() == caption) return tile->value();
        return QStringLiteral("no such figure");
    }
    static QString captionStartingWith(const SpeedView& view, const QString& start) {
        for (const FigureTile* tile : view.findChildren<FigureTile*>())
            if (tile->caption().startsWith(start)) return tile->caption();
        return {};
    }
    static bool timerRuns(const SpeedView& view) {
        for (const QTimer* timer : view.findChildren<QTimer*>())
            if (timer->isActive()) return true;
        return false;
    }

    std::shared_ptr<ScriptedEngine::Script> m_script;
};

QTEST_MAIN(TestSpeed)
#include "test_speed.moc"
