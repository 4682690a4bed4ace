// Several devices and their plan, looking for devices again, and what follows when one fails, at a
// window with an engine that does what each test says.
#include <QLocale>
#include <QPushButton>
#include <QTreeWidget>

#include "gui/window/application.h"
#include "gui/window/device_menu.h"
#include "tests/gui/scripted_engine.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;

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

}  // namespace

class TestDevices : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() {
        m_loads.clear();
        m_script = std::make_shared<ScriptedEngine::Script>();
        m_script->load = [this](const LoadRequest& request, auto&&...) -> Result<ModelInfo> {
            m_loads.push_back(request);
            return ScriptedEngine::modelInfo(request);
        };
        m_fixture = std::make_unique<WindowFixture>();
    }
    void cleanup() { m_fixture.reset(); }

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
        m_fixture->devices = {{cpu, gpu, other}, {}};
        m_fixture->plan = [gpu, cpu](const LoadRequest& request) -> Result<PlacementPlan> {
            if (request.device == "opencl:1,cpu")
                return Error{ErrorCode::OutOfMemory, "The model does not fit.", {}};
            PlacementPlan plan;
            plan.stages = {stageOn(gpu, 0, 5, 3LL << 20), stageOn(cpu, 5, 1)};
            plan.notes.push_back(request.device);
            return plan;
        };
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        auto* menu = m_fixture->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("device:opencl:1"));
        menu->findChild<QAction*>("devicePlan")->trigger();
        auto* devices = m_fixture->find<QTreeWidget>("planDevices");
        auto* stages = m_fixture->find<QTreeWidget>("planStages");
        QVERIFY(devices->isVisible());
        QCOMPARE(devices->topLevelItemCount(), 3);
        QCOMPARE(devices->topLevelItem(2)->checkState(0), Qt::Checked);  // the CPU, and last
        devices->topLevelItem(0)->setCheckState(0, Qt::Checked);
        QTRY_COMPARE(m_fixture->label("planNotes"), "opencl:0,cpu");
        QCOMPARE(stages->topLevelItemCount(), 2);
        QCOMPARE(stages->topLevelItem(0)->text(0), "Big card");
        QCOMPARE(stages->topLevelItem(0)->text(1), "1–5");
        QCOMPARE(stages->topLevelItem(0)->text(2), QLocale().formattedDataSize(3LL << 20));
        QCOMPARE(stages->topLevelItem(0)->text(6), QLocale().formattedDataSize(8LL << 30));
        QCOMPARE(stages->topLevelItem(1)->text(1), "6");
        const std::size_t loads = m_loads.size();  // nothing is loaded by looking
        devices->topLevelItem(0)->setCheckState(0, Qt::Unchecked);
        devices->topLevelItem(1)->setCheckState(0, Qt::Checked);
        QTRY_COMPARE(m_fixture->label("planNotes"), "The model does not fit.");
        QVERIFY(!m_fixture->find<QPushButton>("planLoad")->isEnabled());
        devices->topLevelItem(1)->setCheckState(0, Qt::Unchecked);
        devices->topLevelItem(0)->setCheckState(0, Qt::Checked);
        QTRY_VERIFY(m_fixture->find<QPushButton>("planLoad")->isEnabled());
        QCOMPARE(m_loads.size(), loads);
        m_fixture->click("planLoad");
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().device, "opencl:0,cpu");
        QVERIFY(!devices->isVisible());
        QCOMPARE(menu->currentName(), "Big card + CPU");
        QVERIFY(menu->findChild<QAction*>("device:opencl:0,cpu")->isChecked());
    }

    void devicesAreLookedForAgain() {
        DeviceInfo cpu;
        cpu.id = "cpu";
        DeviceInfo gpu;
        gpu.id = "opencl:0";
        m_fixture->devices = {{cpu}, {}};
        const auto found = std::make_shared<DeviceList>(m_fixture->devices);
        m_fixture->listDevices = [found] { return *found; };
        open(startWith("/models/fable"));
        auto* menu = m_fixture->find<DeviceMenu>("deviceMenu");
        QTRY_VERIFY(menu->findChild<QAction*>("deviceSearch"));
        QVERIFY(!menu->findChild<QAction*>("device:opencl:0"));
        found->devices.push_back(gpu);
        for (int i = 0; i < 2; ++i) {
            menu->findChild<QAction*>("deviceSearch")->trigger();
            QTRY_VERIFY(menu->findChild<QAction*>("deviceSearch"));
        }
        QVERIFY(menu->findChild<QAction*>("device:opencl:0"));
    }

    void failureOfADeviceFollowsTheChoice() {
        m_script->generate = [](auto&&, GenerationSink&,
                                const std::stop_token&) -> Result<GenerationResult> {
            return Error{ErrorCode::Device, "The device failed.", {}};
        };
        WindowStart start = startWith("/models/fable");
        start.load->device = "opencl:0";
        open(start);
        QVERIFY(m_fixture->becomesIdle());
        auto* menu = m_fixture->find<DeviceMenu>("deviceMenu");
        const auto choose = [&](const char* name, DeviceFailureChoice choice) {
            menu->findChild<QAction*>(name)->trigger();
            return QTest::qWaitFor([&] { return menu->failureChoice() == choice; });
        };
        QVERIFY(choose("failureStop", DeviceFailureChoice::Stop));
        m_fixture->click("generateButton");
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->label("messageText"), "The device failed.");
        QVERIFY(!m_fixture->find<QAbstractButton>("messageAction")->isVisible());
        QVERIFY(choose("failureAsk", DeviceFailureChoice::Ask));
        QVERIFY(!m_loads.back().mayLeaveDevice);
        m_fixture->click("generateButton");
        QVERIFY(m_fixture->becomesIdle());
        QTRY_VERIFY(m_fixture->find<QAbstractButton>("messageAction")->isVisible());
        m_fixture->click("messageAction");
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_loads.back().device, "cpu");
        QVERIFY(choose("failureGoOn", DeviceFailureChoice::GoOn));
        m_fixture->action("Load Again")->trigger();
        QVERIFY(m_fixture->becomesIdle());
        QVERIFY(m_loads.back().mayLeaveDevice && m_loads.back().mayLeaveDevice({}));
        // Remembered.
        m_fixture->window->close();
        open();
        QCOMPARE(m_fixture->find<DeviceMenu>("deviceMenu")->failureChoice(),
                 DeviceFailureChoice::GoOn);
    }

    void theStatusBarFollowsTheLayers() {
        m_script->generate = [](auto&&, GenerationSink& sink,
                                const std::stop_token&) -> Result<GenerationResult> {
            LoadRequest request;
            request.location.model = "fable";
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(named("cpu", "The other processor"), 0, 6)};
            info.notes = {"The card failed. All layers run on the processor from here on."};
            sink.modelMoved(info);
            return GenerationResult{};
        };
        m_script->load = [](const LoadRequest& request, const LoadProgressSink&,
                            const std::stop_token&) -> Result<ModelInfo> {
            ModelInfo info = ScriptedEngine::modelInfo(request);
            info.placement.stages = {stageOn(named("opencl:0", "Big card"), 0, 4, 7LL << 20),
                                     stageOn(named("cpu", "Processor"), 4, 2)};
            info.placement.notes = {"2 of the 6 layers do not fit."};
            return info;
        };
        open(startWith("/models/fable"));
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->label("statusDevice"), "Big card (layers 1–4) + CPU (layers 5–6)");
        const QString toolTip = m_fixture->find<QLabel>("statusDevice")->toolTip();
        QVERIFY(toolTip.contains("2 of the 6 layers do not fit."));
        QVERIFY(toolTip.contains(QLocale().formattedDataSize(7LL << 20)));
        m_fixture->click("generateButton");
        QVERIFY(m_fixture->becomesIdle());
        QCOMPARE(m_fixture->label("statusDevice"), "The other processor");
        QVERIFY(m_fixture->label("messageText").startsWith("The card failed."));
    }

private:
    void open(const WindowStart& start = {}) {
        m_fixture->open(std::make_unique<ScriptedEngine>(m_script), start);
    }

    std::shared_ptr<ScriptedEngine::Script> m_script;
    std::unique_ptr<WindowFixture> m_fixture;
    std::vector<LoadRequest> m_loads;
};

QTEST_MAIN(TestDevices)
#include "test_devices.moc"
