// The devices to choose from, as radio items; the choice is remembered by the device's id.
#pragma once

#include <QMenu>

#include "engine/backend/device.h"

class QActionGroup;

namespace qllama {

class DeviceMenu : public QMenu {
    Q_OBJECT

public:
    explicit DeviceMenu(QWidget* parent = nullptr);

    void setDevices(const DeviceList& devices);
    // Any id is kept, also one that is not there (any more): what was asked for stays visible.
    void setCurrent(const QString& id);
    [[nodiscard]] QString current() const { return m_current; }
    [[nodiscard]] QString currentName() const;

signals:
    void deviceChosen(const QString& id);
    void currentNameChanged();
    // The user asks what was found and what is missing: in sentences, and the facts about each.
    void detailsRequested(const QString& notes, const QString& facts);

private:
    void rebuild();
    QAction* addDevice(const QString& id, const QString& text, const QString& toolTip);
    void showDetails();

    DeviceList m_devices;
    bool m_searching = true;
    QString m_current = QStringLiteral("cpu");
    QActionGroup* m_group;
};

// One line for a menu, and all that is known for a tool tip.
QString deviceLabel(const DeviceInfo& device);
QString deviceFacts(const DeviceInfo& device);

}  // namespace qllama
