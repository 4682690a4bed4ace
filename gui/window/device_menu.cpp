#include "gui/window/device_menu.h"

#include <QActionGroup>
#include <QLocale>
#include <QStringList>

#include "gui/window/text.h"

namespace qllama {

QString deviceLabel(const DeviceInfo& device) {
    QString label = toQString(device.name);
    if (device.id == "cpu")
        label = device.simdTarget.empty()
                    ? DeviceMenu::tr("CPU: %1").arg(label)
                    : DeviceMenu::tr("CPU: %1 (%2)").arg(label, toQString(device.simdTarget));
    else if (device.globalMemoryBytes)
        label = DeviceMenu::tr("%1: %2, %3")
                    .arg(toQString(device.platform), label,
                         QLocale().formattedDataSize(*device.globalMemoryBytes));
    else
        label = DeviceMenu::tr("%1: %2").arg(toQString(device.platform), label);
    return label;
}

QString deviceFacts(const DeviceInfo& device) {
    QStringList facts{DeviceMenu::tr("%1: %2").arg(toQString(device.id), toQString(device.name))};
    if (!device.vendor.empty()) facts += DeviceMenu::tr("Vendor: %1").arg(toQString(device.vendor));
    if (!device.driver.empty()) facts += DeviceMenu::tr("Driver: %1").arg(toQString(device.driver));
    if (device.computeUnits > 0)
        facts += device.id == "cpu"
                     ? DeviceMenu::tr("%n core(s)", nullptr, device.computeUnits)
                     : DeviceMenu::tr("%n compute unit(s)", nullptr, device.computeUnits);
    if (device.globalMemoryBytes)
        facts += DeviceMenu::tr("Memory: %1")
                     .arg(QLocale().formattedDataSize(*device.globalMemoryBytes));
    if (device.maxAllocationBytes)
        facts += DeviceMenu::tr("Largest single allocation: %1")
                     .arg(QLocale().formattedDataSize(*device.maxAllocationBytes));
    QStringList targets;
    for (const std::string& target : device.simdTargetsFound)
        targets += toQString(target);
    if (!targets.isEmpty())
        facts += DeviceMenu::tr("Instruction sets: %1").arg(targets.join(QStringLiteral(", ")));
    if (device.isHostProcessor && device.id != "cpu")
        facts += DeviceMenu::tr("This is the processor itself, offered through OpenCL.");
    return facts.join(u'\n');
}

DeviceMenu::DeviceMenu(QWidget* parent)
    : QMenu(tr("&Device"), parent), m_group(new QActionGroup(this)) {
    setObjectName(QStringLiteral("deviceMenu"));
    setToolTipsVisible(true);
    rebuild();
}

void DeviceMenu::setDevices(const DeviceList& devices) {
    m_devices = devices;
    m_searching = false;
    rebuild();
    emit currentNameChanged();
}

void DeviceMenu::setCurrent(const QString& id) {
    m_current = id.isEmpty() ? QStringLiteral("cpu") : id;
    rebuild();
    emit currentNameChanged();
}

QString DeviceMenu::currentName() const {
    if (m_current == u"auto") return tr("Automatic");
    for (const DeviceInfo& device : m_devices.devices)
        if (toQString(device.id) == m_current && device.id != "cpu") return toQString(device.name);
    return m_current == u"cpu" ? tr("CPU") : m_current;
}

void DeviceMenu::rebuild() {
    for (QAction* action : m_group->actions())
        m_group->removeAction(action);
    clear();
    bool currentFound = m_current == u"auto";
    addDevice(QStringLiteral("auto"), tr("Automatic"),
              tr("The fastest device that has room for the model"));
    for (const DeviceInfo& device : m_devices.devices) {
        addDevice(toQString(device.id), deviceLabel(device), deviceFacts(device));
        currentFound = currentFound || toQString(device.id) == m_current;
    }
    if (!currentFound)
        addDevice(m_current, m_searching ? currentName() : tr("%1 (not found)").arg(currentName()),
                  QString());
    addSeparator();
    if (m_searching) {
        addAction(tr("Looking for devices…"))->setEnabled(false);
        return;
    }
    QAction* details = addAction(tr("About the &Devices…"));
    details->setObjectName(QStringLiteral("deviceDetails"));
    connect(details, &QAction::triggered, this, &DeviceMenu::showDetails);
}

QAction* DeviceMenu::addDevice(const QString& id, const QString& label, const QString& toolTip) {
    QAction* action = addAction(withoutShortcuts(label));
    action->setObjectName(QStringLiteral("device:") + id);
    action->setCheckable(true);
    action->setChecked(id == m_current);
    action->setToolTip(toolTip);
    m_group->addAction(action);
    connect(action, &QAction::triggered, this, [this, id] {
        if (id == m_current) return;
        m_current = id;
        emit currentNameChanged();
        emit deviceChosen(id);
    });
    return action;
}

void DeviceMenu::showDetails() {
    QStringList notes;
    for (const std::string& note : m_devices.notes)
        notes += toQString(note);
    if (notes.isEmpty())
        notes += tr("Found %n device(s).", nullptr, static_cast<int>(m_devices.devices.size()));
    QStringList facts;
    for (const DeviceInfo& device : m_devices.devices)
        facts += deviceFacts(device);
    emit detailsRequested(notes.join(u'\n'), facts.join(QStringLiteral("\n\n")));
}

}  // namespace qllama
