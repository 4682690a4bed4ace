// The devices to choose from, as radio items; the choice is remembered by the device's id.
#pragma once

#include <QMenu>
#include <atomic>
#include <memory>

#include "engine/backend/device.h"

class QActionGroup;
class QSettings;

namespace qllama {

// What happens when a device fails: the user is asked, the work goes on without it, or it ends.
enum class DeviceFailureChoice { Ask, GoOn, Stop };

class DeviceMenu : public QMenu {
    Q_OBJECT

public:
    explicit DeviceMenu(QWidget* parent = nullptr);

    void setDevices(const DeviceList& devices);
    [[nodiscard]] const DeviceList& devices() const { return m_devices; }
    void showSearch();  // until setDevices()
    void setFailureChoice(DeviceFailureChoice choice);
    [[nodiscard]] DeviceFailureChoice failureChoice() const { return *m_failureChoice; }
    // For other threads and at any later time.
    [[nodiscard]] std::shared_ptr<const std::atomic<DeviceFailureChoice>> sharedFailureChoice()
        const {
        return m_failureChoice;
    }

    // The choice for failures; the device is part of the load request.
    void save(QSettings& settings) const;
    void restore(const QSettings& settings);

    // Any id is kept, also one that is not there (any more): what was asked for stays visible.
    void setCurrent(const QString& id);
    [[nodiscard]] QString current() const { return m_current; }
    // The layers are not where the choice would have them: choosing it again says so once more.
    void setElsewhere(bool isElsewhere) { m_isElsewhere = isElsewhere; }
    [[nodiscard]] QString currentName() const;
    [[nodiscard]] QString nameOf(const QString& id) const;  // the id where that is all there is
    // Of a device that a model is on, which the search may not have come to yet.
    [[nodiscard]] QString nameOf(const DeviceInfo& device) const;
    [[nodiscard]] QStringList namesOf(const QString& choice) const;  // of the ids in it
    // A sentence of the engine, with names where it says "opencl:0".
    [[nodiscard]] QString withNames(const std::string& sentence) const;

signals:
    void deviceChosen(const QString& id);
    void currentNameChanged();
    void searchRequested();
    void planRequested();  // the memory plan, and the choice of several devices
    // The user asks what was found and what is missing, or asked for another search, which is over: a
    // line for each device and what there is to say, and the facts about each.
    void detailsRequested(const QString& list, const QString& facts);

private:
    void rebuild();
    void addTools();
    void addFailureMenu();
    [[nodiscard]] bool isFound(const QString& id) const;
    QAction* addDevice(const QString& id, const QString& text, const QString& toolTip);
    void showDetails(const QString& opening);
    [[nodiscard]] QString whatChanged(const DeviceList& before) const;

    DeviceList m_devices;
    bool m_searching = true;
    bool m_isElsewhere = false;
    bool m_answersSearch = false;  // the user asked for the search that runs
    QString m_current = QStringLiteral("cpu");
    std::shared_ptr<std::atomic<DeviceFailureChoice>> m_failureChoice =
        std::make_shared<std::atomic<DeviceFailureChoice>>(DeviceFailureChoice::Ask);
    QActionGroup* m_group;
};

}  // namespace qllama
