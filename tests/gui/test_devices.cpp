// Several devices and their plan, looking for devices again, and what follows when one fails, at a
// window with an engine that does what each test says.
#include <QLocale>
#include <QPushButton>
#include <QToolButton>
#include <QTreeWidget>
#include <semaphore>

#include "gui/window/application.h"
#include "gui/window/device_menu.h"
#include "gui/window/elided_label.h"
#include "gui/window/text.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;
using State = EngineController::State;

namespace {

StagePlacement stageOn(const DeviceInfo& device, std::int64_t firstLayer, std::int64_t layerCount,
                       std::int64_t weightBytes = 0) {
    StagePlacement stage;
    stage.device = device;
    stage.firstLayer = firstLayer;
    stage.layerCount = layerCount;
    stage.weightBytes = weightBytes;
    return stage;
}

DeviceInfo named(const char* id, const char* name) {
    DeviceInfo device;
    device.id = id;
    device.name = name;
    return device;
}

DeviceInfo bigCard() {
    DeviceInfo card = named("opencl:0", "Big card");
    card.globalMemoryBytes = 8LL << 30;
    return card;
}

}  // namespace

class TestDevices : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() { m_window = std::make_unique<ScriptedWindow>(); }
    void cleanup() { m_window.reset(); }

    void devicesAreListedAndChosen() {
        DeviceInfo cpu;
        cpu.id = "cpu";
        cpu.name = "Fast & Sons";
        cpu.simdTarget = "AVX2";
        DeviceInfo gpu;
        gpu.id = "opencl:0";
        gpu.name = "Big card";
        gpu.platform = "Some platform";
        gpu.globalMemoryBytes = 8LL << 30;
        m_window->devices = {{cpu, gpu}, {"A driver is missing."}};
        m_window->openIdle();
        auto* menu = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("device:opencl:0"));
        auto* cpuAction = menu->findChild<QAction*>("device:cpu");
        QVERIFY(cpuAction->isChecked());
        QCOMPARE(cpuAction->text(), "CPU: Fast && Sons (AVX2)");
        menu->findChild<QAction*>("device:opencl:0")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().device, "opencl:0");
        QVERIFY(m_window->find<QToolButton>("deviceButton")->text().startsWith("Big card"));
        menu->findChild<QAction*>("deviceDetails")->trigger();
        QCOMPARE(m_window->label("messageText"),
                 "Found 2 devices:\nCPU: Fast & Sons (AVX2)\nSome platform: Big card, " +
                     QLocale().formattedDataSize(8LL << 30) + "\nA driver is missing.");
        m_window->window->close();
        m_window->devices = {{cpu}, {}};
        m_window->openIdle({});
        QCOMPARE(m_window->loads.back().device, "opencl:0");
        menu = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("deviceDetails"));
        QCOMPARE(menu->findChild<QAction*>("device:opencl:0")->text(), "opencl:0 (not found)");
    }

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

    void severalDevicesAreChosenBesideTheirPlan() {
        DeviceInfo cpu;
        cpu.id = "cpu";
        cpu.name = "Fast & Sons";
        DeviceInfo gpu;
        gpu.id = "opencl:0";
        gpu.name = "Big card";
        gpu.globalMemoryBytes = 8LL << 30;
        DeviceInfo other = gpu;
        other.id = "opencl:1";
        other.name = "Small card";
        m_window->devices = {{cpu, gpu, other}, {}};
        m_window->plan = [gpu, cpu](const LoadRequest& request) -> Result<PlacementPlan> {
            if (request.device == "opencl:1,cpu")
                return Error{ErrorCode::OutOfMemory, "The model does not fit.", {}};
            PlacementPlan plan;
            plan.stages = {stageOn(gpu, 0, 5, 3LL << 20), stageOn(cpu, 5, 1)};
            plan.notes.push_back(request.device);
            return plan;
        };
        m_window->openIdle();
        auto* menu = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("device:opencl:1"));
        menu->findChild<QAction*>("devicePlan")->trigger();
        auto* devices = m_window->find<QTreeWidget>("planDevices");
        auto* stages = m_window->find<QTreeWidget>("planStages");
        QVERIFY(devices->isVisible());
        QCOMPARE(devices->topLevelItemCount(), 3);
        QCOMPARE(devices->topLevelItem(2)->checkState(0), Qt::Checked);  // the CPU, and last
        devices->topLevelItem(0)->setCheckState(0, Qt::Checked);
        QTRY_COMPARE(m_window->label("planNotes"), "Big card,cpu");
        QCOMPARE(stages->topLevelItemCount(), 2);
        QCOMPARE(stages->topLevelItem(0)->text(0), "Big card");
        QCOMPARE(stages->topLevelItem(0)->text(1), "1–5");
        QCOMPARE(stages->topLevelItem(0)->text(2), QLocale().formattedDataSize(3LL << 20));
        QCOMPARE(stages->topLevelItem(0)->text(6), QLocale().formattedDataSize(8LL << 30));
        QCOMPARE(stages->topLevelItem(1)->text(1), "6");
        const std::size_t loads = m_window->loads.size();  // nothing is loaded by looking
        devices->topLevelItem(0)->setCheckState(0, Qt::Unchecked);
        devices->topLevelItem(1)->setCheckState(0, Qt::Checked);
        QTRY_COMPARE(m_window->label("planNotes"), "The model does not fit.");
        QVERIFY(!m_window->find<QPushButton>("planLoad")->isEnabled());
        devices->topLevelItem(1)->setCheckState(0, Qt::Unchecked);
        devices->topLevelItem(0)->setCheckState(0, Qt::Checked);
        QTRY_VERIFY(m_window->find<QPushButton>("planLoad")->isEnabled());
        QCOMPARE(m_window->loads.size(), loads);
        m_window->click("planLoad");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().device, "opencl:0,cpu");
        QVERIFY(!devices->isVisible());
        QCOMPARE(menu->currentName(), "Big card + CPU");
        QVERIFY(menu->findChild<QAction*>("device:opencl:0,cpu")->isChecked());
    }

    void aDialogThatCannotLoadSaysWhy() {
        m_window->devices = {{named("cpu", "Processor"), bigCard()}, {}};
        m_window->plan = [](const LoadRequest& request) -> Result<PlacementPlan> {
            PlacementPlan plan;
            plan.stages = {stageOn(bigCard(), 0, 6)};
            plan.notes = {request.device + " holds it."};
            return plan;
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0";
        m_window->openIdle(start);
        auto* menu = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("device:opencl:0")->text().contains("Big card"));
        menu->findChild<QAction*>("devicePlan")->trigger();
        QTRY_COMPARE(m_window->label("planNotes"), "Big card holds it.");
        QCOMPARE(m_window->label("planModel"),
                 "Memory for fable, precision “As in the file”, the model's own context:");
        auto* devices = m_window->find<QTreeWidget>("planDevices");
        auto* stages = m_window->find<QTreeWidget>("planStages");
        auto* load = m_window->find<QPushButton>("planLoad");
        QCOMPARE(stages->topLevelItemCount(), 1);
        QVERIFY(load->isEnabled());
        devices->topLevelItem(0)->setCheckState(0, Qt::Unchecked);
        QTRY_COMPARE(m_window->label("planNotes"), "Check at least one device.");
        QCOMPARE(stages->topLevelItemCount(), 0);
        QVERIFY(!load->isEnabled());
        // A device for which nothing is left is not passed over in silence.
        devices->topLevelItem(0)->setCheckState(0, Qt::Checked);
        devices->topLevelItem(1)->setCheckState(0, Qt::Checked);
        QTRY_COMPARE(stages->topLevelItemCount(), 2);
        QCOMPARE(stages->topLevelItem(0)->text(1), "1–6");
        QCOMPARE(stages->topLevelItem(1)->text(0), "Processor");
        QCOMPARE(stages->topLevelItem(1)->text(1), "0");
        QVERIFY(load->isEnabled());
        menu->findChild<QAction*>("device:auto")->trigger();
        menu->findChild<QAction*>("devicePlan")->trigger();
        QTRY_VERIFY(m_window->label("planNotes").contains("check at least one device"));
        QVERIFY(!load->isEnabled());
    }

    void equalCardsAreToldApart() {
        DeviceInfo second = bigCard();
        second.id = "opencl:1";
        m_window->devices = {{named("cpu", "Processor"), bigCard(), second}, {}};
        m_window->plan = [second](const LoadRequest&) -> Result<PlacementPlan> {
            PlacementPlan plan;
            plan.stages = {stageOn(bigCard(), 0, 3), stageOn(second, 3, 3)};
            return plan;
        };
        m_window->openIdle();
        auto* menu = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("device:opencl:1"));
        QVERIFY(menu->findChild<QAction*>("device:opencl:1")->text().endsWith(" (opencl:1)"));
        QVERIFY(!menu->findChild<QAction*>("device:cpu")->text().contains("(cpu)"));
        menu->setCurrent("opencl:1");
        QCOMPARE(menu->currentName(), "Big card (opencl:1)");
        menu->findChild<QAction*>("devicePlan")->trigger();
        auto* stages = m_window->find<QTreeWidget>("planStages");
        QTRY_COMPARE(stages->topLevelItemCount(), 2);
        QCOMPARE(stages->topLevelItem(0)->text(0), "Big card (opencl:0)");
        QCOMPARE(stages->topLevelItem(1)->text(0), "Big card (opencl:1)");
        auto* devices = m_window->find<QTreeWidget>("planDevices");
        QVERIFY(devices->topLevelItem(0)->text(0) != devices->topLevelItem(1)->text(0));
    }

    void thePlanIsShownWhileItIsCarriedOut() {
        const DeviceInfo card = bigCard();
        m_window->plan = [card](const LoadRequest& request) -> Result<PlacementPlan> {
            PlacementPlan plan;
            plan.stages = {stageOn(card, 0, 6, 3LL << 20)};
            plan.notes = {request.device};
            return plan;
        };
        std::binary_semaphore reached{0};
        m_window->script->load = [&](const LoadRequest& request, const LoadProgressSink& progress,
                                     const std::stop_token& stop) -> Result<ModelInfo> {
            request.planMade(m_window->plan(request).value());
            progress({1, 2});
            reached.release();
            waitForStop(stop);
            return cancelledError();
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0";
        m_window->openScripted(start);
        reached.acquire();
        const QString share = QLocale().formattedDataSize(3LL << 20) + " of " +
                              QLocale().formattedDataSize(8LL << 30);
        QTRY_COMPARE(m_window->label("statusDevice"), "Going to Big card (" + share + ")");
        auto* details = m_window->find<QAbstractButton>("activityDetails");
        QTRY_VERIFY(details->isVisible());
        m_window->click("activityDetails");
        QTRY_COMPARE(m_window->label("planNotes"), "opencl:0");
        QCOMPARE(m_window->window->engine().state(), State::Loading);  // all the while
        m_window->window->engine().stop();
        QVERIFY(m_window->becomesIdle());
        QVERIFY(!details->isVisible());
        QCOMPARE(m_window->label("statusDevice"), "");
    }

    void aModelIsNotDividedUnasked() {
        DeviceInfo cpu;
        cpu.id = "cpu";
        m_window->devices = {{cpu, bigCard()}, {}};
        m_window->plan = [](const LoadRequest& request) -> Result<PlacementPlan> {
            PlacementPlan plan;
            plan.notes = {request.device};
            return plan;
        };
        m_window->script->keepsModelOnFailure = true;
        m_window->script->load = [this](const LoadRequest& request,
                                        auto&&...) -> Result<ModelInfo> {
            m_window->loads.push_back(request);
            if (request.device == "opencl:0" && !request.mayUseCpu)
                return Error{ErrorCode::OutOfMemory, "The model does not fit.", {}};
            return ScriptedEngine::modelInfo(request);
        };
        m_window->openIdle();
        auto* menu = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("device:opencl:0"));
        menu->findChild<QAction*>("device:opencl:0")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("messageText"),
                 "fable could not be loaded. The model does not fit. fable is still loaded.");
        QCOMPARE(menu->current(), "cpu");  // where it still is
        m_window->click("messageAction");
        QTRY_COMPARE(m_window->label("planNotes"), "Big card,cpu");
        QTRY_VERIFY(m_window->find<QPushButton>("planLoad")->isEnabled());
        m_window->click("planLoad");
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().device, "opencl:0,cpu");
        QCOMPARE(menu->current(), "opencl:0,cpu");
    }

    void aDivisionIsOfItsDevicesAndItsModel() {
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0,cpu";
        start.load->split = std::vector<std::int64_t>{4, 2};
        m_window->openIdle(start);
        QCOMPARE(m_window->loads.back().split, start.load->split);
        m_window->window->close();
        m_window->openIdle({});
        QCOMPARE(m_window->loads.back().split, start.load->split);  // remembered
        m_window->answer = "/models/other";
        m_window->action("Open Model Folder…")->trigger();
        QVERIFY(m_window->becomesIdle());
        QVERIFY(!m_window->loads.back().split);
        QCOMPARE(m_window->loads.back().device, "opencl:0,cpu");
        m_window->answer = "/models/fable";
        m_window->action("Open Model Folder…")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().split, start.load->split);
        m_window->find<DeviceMenu>("deviceMenu")->findChild<QAction*>("device:auto")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().device, "auto");
        QVERIFY(!m_window->loads.back().split);
    }

    void severalDevicesAreCountedWhereTheirNamesHaveNoRoom() {
        const DeviceInfo card = named("opencl:0", "An accelerator with a rather long name");
        const DeviceInfo other = named("opencl:1", "Another one with a name that is no shorter");
        m_window->devices = {{named("cpu", "Processor"), card, other}, {}};
        m_window->script->load = [&](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(card, 0, 4), stageOn(other, 4, 2)};
            return info;
        };
        WindowStart start = startWith("/models/mid");
        start.load->device = "opencl:0,opencl:1";
        m_window->openIdle(start);
        auto* button = m_window->find<QToolButton>("deviceButton");
        QTRY_VERIFY(button->text().startsWith("2 devices"));
        QVERIFY(button->toolTip().contains(toQString(card.name)));
        QVERIFY(button->toolTip().contains(toQString(other.name)));
        m_window->generate();
        m_window->window->resize(800, 600);
        auto* model = m_window->find<ElidedLabel>("statusModel");
        auto* device = m_window->find<ElidedLabel>("statusDevice");
        QTRY_COMPARE(device->shownText(), "2 devices");
        QCOMPARE(model->shownText(), "mid (f16)");
        QVERIFY(device->toolTip().contains(toQString(card.name)));
        QVERIFY(device->toolTip().contains(toQString(other.name)));
        m_window->window->resize(1600, 600);
        QTRY_VERIFY(device->shownText().startsWith(toQString(card.name)));
    }

    // The engine says where a model is; the search, which may take longer, is not waited for.
    void namesAreShownBeforeTheSearchIsOver() {
        std::binary_semaphore search{0};
        m_window->listDevices = [&search] {
            search.acquire();
            return DeviceList{{named("cpu", "Processor"), bigCard()}, {}};
        };
        m_window->script->load = [](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(bigCard(), 0, 4), stageOn(named("cpu", "Any"), 4, 2)};
            return info;
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0,cpu";
        m_window->openScripted(start);
        const bool isIdle = m_window->becomesIdle();
        const QString before = m_window->find<QToolButton>("deviceButton")->toolTip();
        search.release();
        QVERIFY(isIdle);
        QVERIFY2(before.startsWith("Device: Big card + CPU."), qPrintable(before));
        QVERIFY(m_window->knowsDevices());
        const QString after = m_window->find<QToolButton>("deviceButton")->toolTip();
        QVERIFY2(after.startsWith("Device: Big card + CPU."), qPrintable(after));
    }

    // What the menu was told is not always what the model makes use of.
    void theDeviceButtonNamesWhereTheLayersAre() {
        const DeviceInfo cpu = named("cpu", "Processor");
        m_window->devices = {{cpu, bigCard()}, {}};
        m_window->script->load = [](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(bigCard(), 0, 6)};
            return info;
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0,cpu";
        m_window->openIdle(start);
        auto* button = m_window->find<QToolButton>("deviceButton");
        QTRY_VERIFY(button->text().startsWith("Big card"));
        QVERIFY(button->toolTip().contains("Chosen: Big card + CPU."));
        QCOMPARE(m_window->label("statusDevice"), "Big card");
        m_window->action("Unload")->trigger();
        QTRY_VERIFY(button->text().startsWith("2 devices"));
    }

    // The fact itself, not that there is one; with names, not with the ids of the command line.
    void whatIsToKnowOfALoadIsSaidAtOnce() {
        m_window->devices = {{named("cpu", "Processor"), bigCard()}, {}};
        m_window->script->load = [](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.notes = {"8 of the 16 layers do not fit on opencl:0 and run on the processor.",
                          "The device opencl:0 (Big card) is slow.", "opencl:7 is not known."};
            return info;
        };
        m_window->openScripted();
        auto* menu = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("device:opencl:0"));
        m_window->answer = "/models/fable";
        m_window->action("Open Model Folder…")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->label("messageText"),
                 "8 of the 16 layers do not fit on Big card and run on the processor.");
        QCOMPARE(m_window->find<QLabel>("messageDetails")->text(),
                 "The device Big card is slow.\nopencl:7 is not known.");
    }

    void devicesAreLookedForAgain() {
        DeviceInfo cpu;
        cpu.id = "cpu";
        DeviceInfo gpu;
        gpu.id = "opencl:0";
        m_window->devices = {{cpu}, {}};
        const auto found = std::make_shared<DeviceList>(m_window->devices);
        m_window->listDevices = [found] { return *found; };
        m_window->openScripted(startWith("/models/fable"));
        auto* menu = m_window->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("deviceSearch"));
        QVERIFY(!menu->findChild<QAction*>("device:opencl:0"));
        found->devices.push_back(gpu);
        const auto searchAgain = [&] {
            menu->findChild<QAction*>("deviceSearch")->trigger();
            QTRY_VERIFY(menu->findChild<QAction*>("deviceSearch"));
        };
        gpu.name = found->devices.back().name = "Big card";
        QCOMPARE(m_window->label("messageText"), QString());  // nobody had asked
        searchAgain();
        QVERIFY(menu->findChild<QAction*>("device:opencl:0"));
        QVERIFY(m_window->label("messageText").startsWith("New: Big card. 2 devices:\n"));
        searchAgain();
        QVERIFY(m_window->label("messageText").startsWith("Nothing new was found. 2 devices:\n"));
        found->devices.pop_back();
        searchAgain();
        QVERIFY(!menu->findChild<QAction*>("device:opencl:0"));
        QVERIFY(m_window->label("messageText").startsWith("No longer there: Big card. 1 device:"));
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
        QVERIFY(!m_window->loads.back().mayLeaveDevice);
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
        QVERIFY(m_window->loads.back().mayLeaveDevice && m_window->loads.back().mayLeaveDevice({}));
        // Remembered.
        m_window->window->close();
        m_window->openScripted();
        QCOMPARE(m_window->find<DeviceMenu>("deviceMenu")->failureChoice(),
                 DeviceFailureChoice::GoOn);
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
    std::unique_ptr<ScriptedWindow> m_window;
};

QTEST_MAIN(TestDevices)
#include "test_devices.moc"
