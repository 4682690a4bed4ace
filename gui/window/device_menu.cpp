#include "gui/window/device_menu.h"

#include <QActionGroup>
#include <QSettings>
#include <QStringList>
#include <algorithm>
#include <utility>

#include "gui/window/device_text.h"
#include "gui/window/text.h"

namespace qllama {

namespace {

struct FailureKey {
    DeviceFailureChoice choice;
    const char* key;
};
constexpr FailureKey kFailureKeys[] = {{DeviceFailureChoice::Ask, "ask"},
                                       {DeviceFailureChoice::GoOn, "go-on"},
                                       {DeviceFailureChoice::Stop, "stop"}};

}  // namespace

DeviceMenu::DeviceMenu(QWidget* parent)
    : QMenu(tr("&Device"), parent), m_group(new QActionGroup(this)) {
    setObjectName(QStringLiteral("deviceMenu"));
    setToolTipsVisible(true);
    rebuild();
}

void DeviceMenu::setDevices(const DeviceList& devices) {
    const DeviceList before = std::exchange(m_devices, devices);
    m_searching = false;
    rebuild();
    emit currentNameChanged();
    if (std::exchange(m_answersSearch, false)) showDetails(whatChanged(before));
}

void DeviceMenu::setCurrent(const QString& id) {
    m_current = id.isEmpty() ? QStringLiteral("cpu") : id;
    rebuild();
    emit currentNameChanged();
}

void DeviceMenu::showSearch() {
    m_searching = true;
    rebuild();
}

void DeviceMenu::setFailureChoice(DeviceFailureChoice choice) {
    if (choice == failureChoice()) return;
    *m_failureChoice = choice;
    rebuild();
}

void DeviceMenu::save(QSettings& settings) const {
    for (const auto& [choice, key] : kFailureKeys)
        if (choice == failureChoice())
            settings.setValue(QStringLiteral("load/whenDeviceFails"), QLatin1String(key));
}

void DeviceMenu::restore(const QSettings& settings) {
    const QString kept = settings.value(QStringLiteral("load/whenDeviceFails")).toString();
    for (const auto& [choice, key] : kFailureKeys)
        if (kept == QLatin1String(key)) setFailureChoice(choice);
}

QString DeviceMenu::nameOf(const QString& id) const {
    if (id == u"auto") return tr("Automatic");
    if (id == u"cpu") return tr("CPU");
    const auto& all = m_devices.devices;
    const auto found = std::find_if(all.begin(), all.end(), [&](const DeviceInfo& device) {
        return toQString(device.id) == id;
    });
    return found == all.end() ? id : deviceNameAmong(all, *found);
}

QString DeviceMenu::nameOf(const DeviceInfo& device) const {
    const bool isNamedHere = device.id == "cpu" || device.name.empty();
    return isNamedHere ? nameOf(toQString(device.id)) : deviceNameAmong(m_devices.devices, device);
}

QString DeviceMenu::withNames(const std::string& sentence) const {
    return withDeviceNames(toQString(sentence), m_devices.devices);
}

QString DeviceMenu::currentName() const {
    return namesOf(m_current).join(QStringLiteral(" + "));
}

QStringList DeviceMenu::namesOf(const QString& choice) const {
    QStringList names;
    for (const QString& id : choice.split(u','))
        names += nameOf(id);
    return names;
}

bool DeviceMenu::isFound(const QString& id) const {
    return id == u"auto" ||
           std::any_of(m_devices.devices.begin(), m_devices.devices.end(),
                       [&](const DeviceInfo& device) { return toQString(device.id) == id; });
}

void DeviceMenu::rebuild() {
    for (QAction* action : m_group->actions())
        m_group->removeAction(action);
    clear();
    // clear() leaves menus of ours alive.
    qDeleteAll(findChildren<QMenu*>(QString(), Qt::FindDirectChildrenOnly));
    addDevice(QStringLiteral("auto"), tr("Automatic"),
              tr("Graphics cards with memory of their own, and the CPU for what does not fit"));
    for (const DeviceInfo& device : m_devices.devices)
        addDevice(toQString(device.id), deviceLabelAmong(m_devices.devices, device),
                  deviceFacts(device));
    const QStringList chosen = m_current.split(u',');
    const bool allFound = std::all_of(chosen.begin(), chosen.end(),
                                      [this](const QString& id) { return isFound(id); });
    if (!allFound || chosen.size() > 1)
        addDevice(m_current,
                  m_searching || allFound ? currentName() : tr("%1 (not found)").arg(currentName()),
                  QString());
    addSeparator();
    addTools();
}

void DeviceMenu::addTools() {
    QAction* plan = addAction(tr("Several Devices and &Memory…"));
    plan->setObjectName(QStringLiteral("devicePlan"));
    plan->setToolTip(
        tr("Divides the layers over several devices, and shows how many bytes go where "
           "before the model is loaded"));
    connect(plan, &QAction::triggered, this, &DeviceMenu::planRequested);
    addFailureMenu();
    addSeparator();
    if (m_searching) {
        addAction(tr("Looking for devices…"))->setEnabled(false);
        return;
    }
    QAction* search = addAction(tr("Look for Devices A&gain"));
    search->setObjectName(QStringLiteral("deviceSearch"));
    search->setToolTip(
        tr("A driver that was installed meanwhile is found when the program is started again"));
    connect(search, &QAction::triggered, this, [this] {
        m_answersSearch = true;
        emit searchRequested();
    });
    QAction* details = addAction(tr("About the &Devices…"));
    details->setObjectName(QStringLiteral("deviceDetails"));
    connect(details, &QAction::triggered, this, [this] {
        showDetails(tr("Found %n device(s):", nullptr, static_cast<int>(m_devices.devices.size())));
    });
}

void DeviceMenu::addFailureMenu() {
    QMenu* menu = addMenu(tr("When a Device &Fails"));
    auto* group = new QActionGroup(menu);
    const auto add = [&](DeviceFailureChoice choice, const char* name, const QString& text) {
        QAction* action = menu->addAction(text);
        action->setObjectName(QLatin1String(name));
        action->setCheckable(true);
        action->setChecked(choice == failureChoice());
        group->addAction(action);
        // Queued: the menu is built anew, and this action with it.
        connect(
            action, &QAction::triggered, this, [this, choice] { setFailureChoice(choice); },
            Qt::QueuedConnection);
    };
    add(DeviceFailureChoice::Ask, "failureAsk", tr("&Ask What to Do"));
    add(DeviceFailureChoice::GoOn, "failureGoOn", tr("&Go On Without It, at Last on the CPU"));
    add(DeviceFailureChoice::Stop, "failureStop", tr("&Stop"));
}

QAction* DeviceMenu::addDevice(const QString& id, const QString& label, const QString& toolTip) {
    QAction* action = addAction(withoutShortcuts(label));
    action->setObjectName(QStringLiteral("device:") + id);
    action->setCheckable(true);
    action->setChecked(id == m_current);
    action->setToolTip(toolTip);
    m_group->addAction(action);
    connect(action, &QAction::triggered, this, [this, id] {
        if (id == m_current && !m_isElsewhere) return;
        m_current = id;
        emit currentNameChanged();
        emit deviceChosen(id);
    });
    return action;
}

// Since an earlier search.
QString DeviceMenu::whatChanged(const DeviceList& before) const {
    const auto missingIn = [](const DeviceList& list, const DeviceList& other) {
        QStringList names;
        for (const DeviceInfo& device : other.devices)
            if (std::none_of(list.devices.begin(), list.devices.end(),
                             [&device](const auto& known) {
                                 return known.id == device.id && known.name == device.name;
                             }))
                names += deviceNameAmong(other.devices, device);
        return names.join(QStringLiteral(", "));
    };
    const QString found = missingIn(before, m_devices);
    const QString gone = missingIn(m_devices, before);
    QStringList changes;
    if (!found.isEmpty()) changes += tr("New: %1.").arg(found);
    if (!gone.isEmpty()) changes += tr("No longer there: %1.").arg(gone);
    if (changes.isEmpty()) changes += tr("Nothing new was found.");
    changes += tr("%n device(s):", nullptr, static_cast<int>(m_devices.devices.size()));
    return changes.join(u' ');
}

void DeviceMenu::showDetails(const QString& opening) {
    QStringList lines{opening};
    QStringList facts;
    for (const DeviceInfo& device : m_devices.devices) {
        lines += deviceLabelAmong(m_devices.devices, device);
        facts += deviceFacts(device);
    }
    for (const std::string& note : m_devices.notes)
        lines += toQString(note);
    emit detailsRequested(lines.join(u'\n'), facts.join(QStringLiteral("\n\n")));
}

}  // namespace qllama
