// What follows when a device fails, at a window with an engine that does what each test says.
#include <QLocale>

#include "gui/window/activity_bar.h"
#include "gui/window/application.h"
#include "gui/window/device_menu.h"
#include "tests/gui/devices_fixture.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;
using State = EngineController::State;

class TestDeviceFailures : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() { m_window = std::make_unique<ScriptedWindow>(); }
    void cleanup() { m_window.reset(); }

    void aDeviceThatFailsOffersTheProcessor() {
        m_window->script->load = [this](const LoadRequest& request,
                                        auto&&...) -> Result<ModelInfo> {
            m_window->loads.push_back(request);
            if (request.device != "cpu") return Error{ErrorCode::Device, "The device is gone.", {}};
            return ScriptedEngine::modelInfo(request);
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:3";
        m_window->openIdle(start);
        QCOMPARE(m_window->window->engine().state(), State::Empty);
        QCOMPARE(m_window->label("messageText"), "fable could not be loaded. The device is gone.");
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().device, "cpu");
        QCOMPARE(m_window->window->engine().state(), State::Ready);
    }

    // Several devices, given by the user, that together are too small.
    void devicesWithoutMemoryOfferTheProcessor() {
        m_window->script->load = [this](const LoadRequest& request,
                                        auto&&...) -> Result<ModelInfo> {
            m_window->loads.push_back(request);
            if (request.device != "cpu")
                return Error{ErrorCode::OutOfMemory, "The model does not fit.", {}};
            return ScriptedEngine::modelInfo(request);
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0,opencl:1";
        m_window->openIdle(start);
        QCOMPARE(m_window->find<QAbstractButton>("messageAction")->text(), "Use the CPU");
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().device, "cpu");
    }

    // Not the model that was asked for in vain after it.
    void theModelInUseGoesToTheProcessor() {
        m_window->script->keepsModelOnFailure = true;
        m_window->script->generate = [](auto&&, GenerationSink&,
                                        auto&&) -> Result<GenerationResult> {
            return Error{ErrorCode::Device, "The device failed.", {}};
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0";
        m_window->openIdle(start);
        m_window->answer = "/models/broken.pth";
        m_window->action("Open Model File…")->trigger();
        QVERIFY(m_window->becomesIdle());
        m_window->click("generateButton");
        QVERIFY(m_window->becomesIdle());
        QTRY_COMPARE(m_window->label("messageText"), "The device failed.");
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().location.model, "/models/fable");
        QCOMPARE(m_window->loads.back().device, "cpu");
    }

    // Memory that ran out on a device is the device's failure; the processor's is not.
    void aDeviceWithoutMemoryOffersTheProcessor() {
        m_window->script->load = [](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {
                stageOn(request.device == "cpu" ? named("cpu", "Any") : bigCard(), 0, 6)};
            return info;
        };
        m_window->script->generate = [](auto&&, GenerationSink&,
                                        auto&&) -> Result<GenerationResult> {
            return Error{ErrorCode::OutOfMemory, "The device opencl:0 ran out of memory.", {}};
        };
        m_window->devices = {{named("cpu", "Any"), bigCard()}, {}};
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0";
        m_window->openIdle(start);
        m_window->click("generateButton");
        QVERIFY(m_window->becomesIdle());
        QTRY_COMPARE(m_window->label("messageText"), "The device Big card ran out of memory.");
        QCOMPARE(m_window->find<QAbstractButton>("messageAction")->text(), "Use the CPU");
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        m_window->click("generateButton");
        QVERIFY(m_window->becomesIdle());
        QTRY_VERIFY(m_window->label("messageText").contains("ran out of memory"));
        QVERIFY(!m_window->find<QAbstractButton>("messageAction")->isVisible());
    }

    void failureOfADeviceFollowsTheChoice() {
        m_window->script->generate = [](auto&&, GenerationSink&,
                                        const std::stop_token&) -> Result<GenerationResult> {
            return Error{ErrorCode::Device, "The device failed.", {}};
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0";
        start.whenDeviceFails = DeviceFailureChoice::Stop;
        m_window->openIdle(start);
        auto* menu = m_window->find<DeviceMenu>("deviceMenu");
        const auto choose = [&](const char* name, DeviceFailureChoice choice) {
            menu->findChild<QAction*>(name)->trigger();
            return QTest::qWaitFor([&] { return menu->failureChoice() == choice; });
        };
        QCOMPARE(menu->failureChoice(), DeviceFailureChoice::Stop);
        m_window->click("generateButton");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("messageText"), "The device failed.");
        QVERIFY(!m_window->find<QAbstractButton>("messageAction")->isVisible());
        QVERIFY(choose("failureAsk", DeviceFailureChoice::Ask));
        QVERIFY(!m_window->loads.back().mayLeaveDevice({}));
        m_window->click("generateButton");
        QVERIFY(m_window->becomesIdle());
        QTRY_VERIFY(m_window->find<QAbstractButton>("messageAction")->isVisible());
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().device, "cpu");
        QVERIFY(choose("failureStop", DeviceFailureChoice::Stop));
        QVERIFY(choose("failureGoOn", DeviceFailureChoice::GoOn));
        m_window->action("Load Again")->trigger();
        QVERIFY(m_window->becomesIdle());
        QVERIFY(m_window->loads.back().mayLeaveDevice({}));
        // Of the model that is loaded too.
        QVERIFY(choose("failureStop", DeviceFailureChoice::Stop));
        QVERIFY(!m_window->loads.back().mayLeaveDevice({}));
        QVERIFY(choose("failureGoOn", DeviceFailureChoice::GoOn));
        QVERIFY(m_window->loads.back().mayLeaveDevice({}));
        // Remembered.
        m_window->window->close();
        m_window->openScripted();
        QCOMPARE(m_window->find<DeviceMenu>("deviceMenu")->failureChoice(),
                 DeviceFailureChoice::GoOn);
    }

    void aTextWaitsForTheAnswer_data() {
        QTest::addColumn<QString>("answer");  // what the user clicks
        QTest::addColumn<bool>("goesOn");
        QTest::addColumn<QString>("message");  // at the end
        QTest::newRow("go on") << "messageAction" << true << "";
        QTest::newRow("closed") << "messageClose" << false << "The device Big card failed.";
        QTest::newRow("stopped") << "stopButton" << false << "";
    }

    void aTextWaitsForTheAnswer() {
        QFETCH(const QString, answer);
        QFETCH(const bool, goesOn);
        QFETCH(const QString, message);
        askInTheMiddle();
        QTRY_COMPARE(m_window->label("messageText"),
                     "The device Big card failed. The text can go on without it: the CPU takes its "
                     "layers.");
        QCOMPARE(m_window->window->engine().state(), State::Generating);
        m_window->click(answer.toLatin1().constData());
        QVERIFY(m_window->becomesIdle());
        const QString text = m_window->output()->toPlainText();
        QVERIFY2(text.contains("Once") && text.contains("Once more") == goesOn, qPrintable(text));
        QTRY_COMPARE(m_window->label("messageText"), message);
        if (message.isEmpty()) return;
        QCOMPARE(m_window->find<QAbstractButton>("messageAction")->text(), "Use the CPU");
    }

    // Another message is read and closed; the question is still there.
    void aQuestionOutlivesOtherMessages() {
        askInTheMiddle();
        QTRY_VERIFY(m_window->label("messageText").contains("can go on"));
        dropOn(m_window->window.get(), "/some/notes.txt");
        QVERIFY(m_window->label("messageText").contains("notes.txt is not a model"));
        dropOn(m_window->window.get(), "/some/other.txt");
        QVERIFY(m_window->label("messageText").contains("other.txt is not a model"));
        QCOMPARE(m_window->window->engine().state(), State::Generating);
        m_window->click("messageClose");
        QVERIFY(m_window->label("messageText").contains("can go on"));
        m_window->click("messageAction");
        QVERIFY(m_window->becomesIdle());
        QVERIFY(m_window->output()->toPlainText().contains("Once more"));
        QCOMPARE(m_window->label("messageText"), "");
    }

    // Stopped under another message, which stays; the question does not come back.
    void aQuestionGoesWithItsText() {
        askInTheMiddle();
        QTRY_VERIFY(m_window->label("messageText").contains("can go on"));
        dropOn(m_window->window.get(), "/some/notes.txt");
        m_window->click("stopButton");
        QVERIFY(m_window->becomesIdle());
        QVERIFY(m_window->label("messageText").contains("notes.txt is not a model"));
        m_window->click("messageClose");
        QCOMPARE(m_window->label("messageText"), "");
    }

    // Neither in the middle of the prompt nor of the text does the window look as if nothing happened.
    void computingAgainShowsHowFarItIs() {
        m_window->script->generate = [this](auto&&, GenerationSink& sink,
                                            auto&&) -> Result<GenerationResult> {
            LoadRequest request;
            request.location.model = "fable";
            sink.promptStarted(1, 7);
            sink.promptDone({});
            sink.tokenReady(chunkOf("Once"));
            sink.modelMoved(ScriptedEngine::modelInfo(request));
            sink.recomputeProgress(1, 2);
            sink.recomputeProgress(2, 2);
            m_window->reached.release();
            m_window->mayEnd.acquire();
            sink.tokenReady(chunkOf(" more"));
            m_window->reached.release();
            m_window->mayEnd.acquire();
            return GenerationResult{};
        };
        m_window->openIdle();
        m_window->click("generateButton");
        m_window->reached.acquire();
        const auto* activity = m_window->find<ActivityBar>("activityBar");
        QTRY_COMPARE(activity->text(), "Computing the text again: 2 of 2 tokens");
        m_window->mayEnd.release();
        m_window->reached.acquire();
        QTRY_COMPARE(activity->text(), "");
        m_window->mayEnd.release();
        QVERIFY(m_window->becomesIdle());
    }

    // Another model, or the end of the window, answers as well.
    void nobodyWaitsForever() {
        askInTheMiddle();
        QTRY_VERIFY(m_window->label("messageText").contains("can go on"));
        m_window->action("Load Again")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->window->engine().state(), State::Ready);
        QCOMPARE(m_window->label("messageText"), "");
        m_window->click("generateButton");
        QTRY_VERIFY(m_window->label("messageText").contains("can go on"));
        m_window.reset();
    }

    // The choice is still the card; clicking it is how to try it again.
    void aDeviceThatWasLeftIsTriedAgain() {
        m_window->devices = {{named("cpu", "Any"), bigCard()}, {}};
        m_window->script->load = [this](const LoadRequest& request,
                                        auto&&...) -> Result<ModelInfo> {
            m_window->loads.push_back(request);
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(bigCard(), 0, 6)};
            return info;
        };
        m_window->script->generate = [](auto&&, GenerationSink& sink,
                                        auto&&) -> Result<GenerationResult> {
            LoadRequest request;
            request.location.model = "fable";
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(named("cpu", "Any"), 0, 6)};
            sink.modelMoved(info);
            return GenerationResult{};
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0";
        m_window->openIdle(start);
        const auto choose = [this] {
            m_window->find<QAction>("device:opencl:0")->trigger();
            return m_window->becomesIdle();
        };
        const std::size_t once = m_window->loads.size();
        QVERIFY(choose());
        QCOMPARE(m_window->loads.size(), once);  // it is there
        m_window->click("generateButton");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("statusDevice"), "Any");
        QVERIFY(choose());
        QCOMPARE(m_window->loads.size(), once + 1);
        QCOMPARE(m_window->loads.back().device, "opencl:0");
        QCOMPARE(m_window->label("statusDevice"), "Big card");
    }

    void theStatusBarFollowsTheLayers() {
        m_window->script->generate = [](auto&&, GenerationSink& sink,
                                        const std::stop_token&) -> Result<GenerationResult> {
            LoadRequest request;
            request.location.model = "fable";
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(named("cpu", "The other processor"), 0, 6)};
            info.notes = {"The card failed. All layers run on the processor from here on."};
            sink.modelMoved(info);
            return GenerationResult{};
        };
        m_window->script->load = [](const LoadRequest& request, const LoadProgressSink&,
                                    const std::stop_token&) -> Result<ModelInfo> {
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(named("opencl:0", "Big card"), 0, 4, 7LL << 20),
                                     stageOn(named("cpu", "Processor"), 4, 2)};
            info.placement.notes = {"2 of the 6 layers do not fit."};
            return info;
        };
        m_window->openIdle();
        QCOMPARE(m_window->label("statusDevice"), "Big card (layers 1–4) + CPU (layers 5–6)");
        const QString toolTip = m_window->find<QLabel>("statusDevice")->toolTip();
        QVERIFY(toolTip.contains("2 of the 6 layers do not fit."));
        QVERIFY(toolTip.contains(QLocale().formattedDataSize(7LL << 20)));
        m_window->click("generateButton");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("statusDevice"), "The other processor");
        QVERIFY(m_window->label("messageText").startsWith("The card failed."));
    }

private:
    // A text whose device fails after its first word, where the user wants to be asked.
    void askInTheMiddle() {
        m_window->devices = {{named("cpu", "Any"), bigCard()}, {}};
        m_window->script->generate = [this](
                                         auto&&, GenerationSink& sink,
                                         const std::stop_token& stop) -> Result<GenerationResult> {
            sink.promptStarted(1, 7);
            sink.tokenReady(chunkOf("Once"));
            const Error failure{ErrorCode::Device, "The device opencl:0 failed.", {}};
            const bool goesOn = m_window->loads.back().mayLeaveDevice(failure);
            if (stop.stop_requested()) return resultOf(StopReason::Cancelled, "Once");
            if (!goesOn) return failure;
            sink.tokenReady(chunkOf(" more"));
            return GenerationResult{};
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0";
        m_window->openIdle(start);
        m_window->click("generateButton");
    }

    std::unique_ptr<ScriptedWindow> m_window;
};

QTEST_MAIN(TestDeviceFailures)
#include "test_device_failures.moc"
