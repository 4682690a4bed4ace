// Loading as the user sees it: makes the requests from what the controls say, shows how far it is,
// and says in words what went wrong and what would help.
#pragma once

#include <QObject>
#include <optional>

#include "gui/window/engine_controller.h"

namespace qllama {

class ActivityBar;
class DeviceMenu;
class FileChooser;
class LoadPanel;
class MessageBar;
class ModelPicker;
class RecentModels;
struct Message;

class LoadPresenter : public QObject {
    Q_OBJECT

public:
    // The parts it speaks to; all outlive it.
    struct Parts {
        EngineController& engine;
        ActivityBar& activity;
        MessageBar& messages;
        ModelPicker& picker;
        DeviceMenu& devices;
        LoadPanel& panel;
        FileChooser& files;
        RecentModels& recent;
        std::filesystem::path weightCacheFolder;  // empty: quantised weights are not kept
    };
    LoadPresenter(const Parts& parts, QObject* parent);

    // Loads what `location` names with the device and settings that the controls show.
    void load(const CheckpointLocation& location);
    // Gives the controls the values of `request` without loading.
    void show(const LoadRequest& request);
    void loadAgain();
    // A device failed while it computed: says so, and offers the CPU where the user wants to be asked.
    void offerOtherDevice(const Error& error);
    void chooseTokenizer();
    void chooseParams();
    // The model asked for last, with the values of the controls: what to remember.
    [[nodiscard]] LoadRequest request() const;

private:
    void connectEngine();
    void showProgress(const LoadProgress& progress);
    void showLoaded(const ModelInfo& info);
    void showFailure(const Error& error);
    void offerHelp(const Error& error, Message& message);
    void offerCpu(Message& message);
    void showMoved(const ModelInfo& info);
    void updateModel();

    Parts m_parts;
    CheckpointLocation m_location;  // of the last request
    LoadRequest m_running;
    std::optional<LoadRequest> m_loaded;  // the model in use came from this
};

}  // namespace qllama
