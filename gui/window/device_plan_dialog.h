// Which devices share the layers of the model, and how many bytes go where, before it is loaded.
#pragma once

#include <QDialog>
#include <functional>
#include <vector>

#include "engine/session/model_loader.h"
#include "gui/window/background_task.h"

class QLabel;
class QPushButton;
class QTreeWidget;

namespace qllama {

// Plans in a thread of its own whenever the choice changes. A plan that cannot be made is explained
// in its place.
class DevicePlanDialog : public QDialog {
    Q_OBJECT

public:
    using Planner = std::function<Result<PlacementPlan>(const LoadRequest&)>;
    // `planner` is called in another thread.
    explicit DevicePlanDialog(Planner planner, QWidget* parent = nullptr);

    // What would be loaded, with the device chosen now; an empty model path: nothing to plan for.
    void present(const DeviceList& devices, const LoadRequest& request);
    // What the search found, when it ends after that.
    void setDevices(const DeviceList& devices);

signals:
    // The user wants the model there: what was presented, with other devices where he chose them.
    void loadRequested(const qllama::LoadRequest& request);

private:
    void setupLists();
    void setupLayout();
    [[nodiscard]] QString chosen() const;
    [[nodiscard]] LoadRequest request() const;
    void plan();
    // A row of the table; `figures` are those between the device's name and its memory.
    void addRow(const DeviceInfo& device, const QStringList& figures);
    void showPlan(const Result<PlacementPlan>& plan);

    Planner m_planner;
    std::vector<DeviceInfo> m_known;
    LoadRequest m_request;
    bool m_presentedIsListed = false;  // as devices to check; "auto" is none
    bool m_planAgain = false;          // the choice changed while a plan was made
    QTreeWidget* m_devices;
    QTreeWidget* m_plan;
    QLabel* m_model;  // what the plan is for
    QLabel* m_notes;
    QPushButton* m_load;
    BackgroundTask m_task;  // goes first: it waits for what uses the rest
};

}  // namespace qllama
