// The window: puts the parts in their places and connects them, nothing else. Loading is told to the
// user by LoadPresenter, generating by RunPresenter.
#pragma once

#include <QMainWindow>
#include <QSettings>
#include <functional>
#include <memory>
#include <optional>

#include "gui/window/device_finder.h"
#include "gui/window/engine_controller.h"
#include "gui/window/file_chooser.h"
#include "gui/window/recent_models.h"
#include "gui/window/window_start.h"

class QDockWidget;
class QMimeData;

namespace qllama {

class ActivityBar;
class DevicePlanDialog;
class LoadPresenter;
class MenuButton;
class MessageBar;
class ModelPicker;
class OutputView;
class PromptEditor;
class RunPresenter;
class SettingsPanel;
class StatusStrip;
class WeightCacheDialog;
class WindowActions;

// What the window needs of the world outside. A test gives its own.
struct WindowServices {
    std::unique_ptr<TextEngine> engine;
    std::unique_ptr<FileChooser> files;
    std::unique_ptr<QSettings> settings;
    std::function<DeviceList()> listDevices;
    // Where the model of a request would go; called in other threads too.
    std::function<Result<PlacementPlan>(const LoadRequest&)> plan;
    std::optional<std::filesystem::path> demoModel;
    std::filesystem::path weightCacheFolder;  // empty: made weights are not kept
};

class MainWindow : public QMainWindow {
    Q_OBJECT

public:
    explicit MainWindow(WindowServices services);
    ~MainWindow() override;

    // Begins to look for devices and to load: the command line's model, else the last one, else the
    // demo model. Call after show(): nothing here waits.
    void start(const WindowStart& options);

    [[nodiscard]] EngineController& engine() { return *m_engine; }

protected:
    void closeEvent(QCloseEvent* event) override;
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;

private:
    void createParts();
    void setupMenus();
    void setupToolBar();
    void setupLayout();
    void setupSpeedDock();
    void addToggle(QDockWidget* dock, const QString& text, const QString& icon,
                   const QKeySequence& shortcut, const QString& toolTip);
    QWidget* createPromptArea();
    void setupTabOrder();
    void connectActions();
    void connectOutputActions();
    void connectParts();
    void updateState();
    void passFocusOn();
    static QString hintFor(EngineController::State state, bool hasModel);

    void generate();
    void startText();
    void setTextFollows(bool follows);
    void openPromptFile(const std::filesystem::path& path);
    void saveOutput();
    void dropFiles(const QMimeData& data, bool onPrompt);
    void setTextSteps(int steps);
    void showDeviceName();
    void showKeptWeights();
    void connectDevices();
    void showDevicePlan(const LoadRequest& request);

    void restoreSettings();
    void saveSettings();

    WindowServices m_services;
    RecentModels m_recent;
    bool m_textFollows = false;
    int m_textSteps = 0;
    WindowActions* m_actions;
    MessageBar* m_messages = nullptr;
    OutputView* m_output = nullptr;
    PromptEditor* m_prompt = nullptr;
    ActivityBar* m_activity = nullptr;
    SettingsPanel* m_panel = nullptr;
    QDockWidget* m_panelDock = nullptr;
    StatusStrip* m_status = nullptr;
    ModelPicker* m_picker = nullptr;
    DeviceMenu* m_deviceMenu = nullptr;
    MenuButton* m_deviceButton = nullptr;
    DeviceFinder* m_finder;
    LoadPresenter* m_loads = nullptr;
    RunPresenter* m_runs = nullptr;
    DevicePlanDialog* m_devicePlan = nullptr;    // once it was asked for
    WeightCacheDialog* m_keptWeights = nullptr;  // once it was asked for
    std::unique_ptr<EngineController> m_engine;
};

}  // namespace qllama
