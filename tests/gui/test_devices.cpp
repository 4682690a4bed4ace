// The menu of devices, their names, and looking for them again, at a window with an engine that does
// what each test says.
#include <QLocale>
#include <QPlainTextEdit>
#include <QToolButton>
#include <QTreeWidget>
#include <semaphore>

#include "gui/window/application.h"
#include "gui/window/device_menu.h"
#include "gui/window/elided_label.h"
#include "gui/window/text.h"
#include "tests/gui/devices_fixture.h"
#include "tests/gui/window_fixture.h"

using namespace qllama;

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

    // Another device loads the model anew, and nothing else.
    void anotherDeviceKeepsTheText() {
        m_window->devices = {{named("cpu", "Processor"), bigCard()}, {}};
        m_window->openIdle(startWith("/models/fable"));
        m_window->find<QPlainTextEdit>("promptEdit")->setPlainText("Once upon");
        m_window->click("generateButton");
        QVERIFY(m_window->becomesIdle());
        const QString prompt = m_window->find<QPlainTextEdit>("promptEdit")->toPlainText();
        const QString text = m_window->output()->toPlainText();
        QVERIFY(!text.isEmpty());
        QTRY_VERIFY(m_window->find<QAction>("device:opencl:0"));
        m_window->find<QAction>("device:opencl:0")->trigger();
        QVERIFY(m_window->becomesIdle());
        QCOMPARE(m_window->loads.back().device, "opencl:0");
        QCOMPARE(m_window->output()->toPlainText(), text);
        QCOMPARE(m_window->find<QPlainTextEdit>("promptEdit")->toPlainText(), prompt);
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

private:
    std::unique_ptr<ScriptedWindow> m_window;
};

QTEST_MAIN(TestDevices)
#include "test_devices.moc"
