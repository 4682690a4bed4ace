// Dividing a model over several devices, and the plan of it, at a window with an engine that does what
// each test says.
#include <QLocale>
#include <QPushButton>
#include <QTreeWidget>
#include <semaphore>

#include "gui/window/application.h"
#include "gui/window/device_menu.h"
#include "tests/gui/devices_fixture.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;
using State = EngineController::State;

class TestDevicePlan : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { prepareApplication(); }
    void init() { m_window = std::make_unique<ScriptedWindow>(); }
    void cleanup() { m_window.reset(); }

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

    void aPlanOpenedDuringTheSearchShowsWhatIsFound() {
        std::binary_semaphore search{0};
        m_window->listDevices = [&search] {
            search.acquire();
            return DeviceList{{named("cpu", "Processor"), bigCard()}, {}};
        };
        m_window->openScripted();
        m_window->action("Several Devices and Memory…")->trigger();
        auto* devices = m_window->find<QTreeWidget>("planDevices");
        const int before = devices->topLevelItemCount();
        search.release();
        QCOMPARE(before, 0);
        QTRY_COMPARE(devices->topLevelItemCount(), 2);
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

private:
    std::unique_ptr<ScriptedWindow> m_window;
};

QTEST_MAIN(TestDevicePlan)
#include "test_device_plan.moc"
