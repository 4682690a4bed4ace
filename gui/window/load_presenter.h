// Loading as the user sees it: makes the requests from what the controls say, shows how far it is,
// and says in words what went wrong and what would help.
#pragma once

#include <QObject>
#include <map>
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
        std::filesystem::path weightCacheFolder;  // empty: made weights are not kept
    };
    LoadPresenter(const Parts& parts, QObject* parent);

    // Loads what `location` names with the device and settings that the controls show.
    void load(const CheckpointLocation& location);
    // Gives the controls the values of `request` without loading; how its layers are divided holds
    // until another device is chosen.
    void show(const LoadRequest& request);
    void loadAgain();
    void loadAsShown(const LoadRequest& request);  // both
    // A device failed while it computed: says so, and offers the CPU where the user wants to be asked.
    void offerOtherDevice(const Error& error);
    void chooseTokenizer();
    // Whether the progress says that a text is to follow the load.
    void setTextFollows(bool follows);
    // The model asked for last, with the values of the controls.
    [[nodiscard]] LoadRequest request() const;
    // The same for the next start: not with settings that no model could be loaded with.
    [[nodiscard]] LoadRequest requestToRemember() const;

signals:
    // The user wants to see, before anything is loaded, where the layers of `request` would go.
    void planRequested(const qllama::LoadRequest& request);

private:
    // How the layers are divided where the device alone does not say it; see LoadRequest.
    struct Division {
        std::optional<std::vector<std::int64_t>> split;
        std::filesystem::path splitModel;  // the split is one of this model's layers
        std::optional<double> deviceShare;
        bool mayUseCpu = true;
    };

    void connectEngine();
    void chooseTokenizerFor(const CheckpointLocation& model);
    void chooseParamsFor(const CheckpointLocation& model);
    void place(const LoadRequest& request);
    void goBackTo(const LoadRequest& request);
    [[nodiscard]] static QString workText(LoadWork work);
    void showProgress(const LoadProgress& progress);
    void showActivity(const QString& text, double fraction);
    void noteLoaded(quint64 id);
    void showLoaded(const ModelInfo& info);
    void showFailure(const Error& error);
    // `lost`: the model that was in use until this load.
    void explainFailure(const Error& error, const std::optional<LoadRequest>& lost);
    void explainStop(const LoadRequest& lost);
    void offerHelp(const Error& error, Message& message);
    [[nodiscard]] bool stillOnCpu() const;
    void offerCpu(Message& message, const CheckpointLocation& location);
    void offerDivision(Message& message);
    void askToGoOn(const Error& error);
    void showMoved(const ModelInfo& info);
    void updateModel();

    Parts m_parts;
    CheckpointLocation m_location;  // of the last request
    Division m_division;
    LoadRequest m_running;                   // asked for last
    std::map<quint64, LoadRequest> m_asked;  // by their ids, until their final signals
    std::optional<LoadRequest> m_loaded;     // the model in use came from this
    std::optional<LoadRequest> m_lastGood;   // and the last one that was in use
    std::optional<LoadRequest> m_failed;     // asked for after it, in vain
    bool m_asks = false;                     // askToGoOn() is not answered yet
    QString m_activity;                      // what the load is doing
    double m_fraction = -1;                  // and how far it is
    bool m_textFollows = false;
};

}  // namespace qllama
