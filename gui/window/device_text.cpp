#include "gui/window/device_text.h"

#include <QLocale>
#include <QRegularExpression>
#include <QStringList>
#include <algorithm>

#include "gui/window/device_menu.h"
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
    if (device.freeMemoryBytes)
        facts += DeviceMenu::tr("Free memory: %1")
                     .arg(QLocale().formattedDataSize(*device.freeMemoryBytes));
    if (device.maxAllocationBytes)
        facts += DeviceMenu::tr("Largest single allocation: %1")
                     .arg(QLocale().formattedDataSize(*device.maxAllocationBytes));
    if (device.id != "cpu")
        facts += device.hasHalfPrecision ? DeviceMenu::tr("Arithmetic in f16: yes")
                                         : DeviceMenu::tr("Arithmetic in f16: no, storage only");
    QStringList targets;
    for (const std::string& target : device.simdTargetsFound)
        targets += toQString(target);
    if (!targets.isEmpty())
        facts += DeviceMenu::tr("Instruction sets: %1").arg(targets.join(QStringLiteral(", ")));
    if (device.isHostProcessor && device.id != "cpu")
        facts += DeviceMenu::tr("This is the processor itself, offered through OpenCL.");
    return facts.join(u'\n');
}

namespace {

// `text` of a device, with its id behind it where the others are called the same.
QString toldApart(const QString& text, const DeviceInfo& device,
                  const std::vector<DeviceInfo>& devices, QString (*textOf)(const DeviceInfo&)) {
    const bool hasTwin = std::any_of(devices.begin(), devices.end(), [&](const DeviceInfo& other) {
        return other.id != device.id && textOf(other) == text;
    });
    return hasTwin ? DeviceMenu::tr("%1 (%2)").arg(text, toQString(device.id)) : text;
}

QString plainName(const DeviceInfo& device) {
    return toQString(device.name);
}

}  // namespace

QString deviceLabelAmong(const std::vector<DeviceInfo>& devices, const DeviceInfo& device) {
    return toldApart(deviceLabel(device), device, devices, deviceLabel);
}

QString deviceNameAmong(const std::vector<DeviceInfo>& devices, const DeviceInfo& device) {
    return toldApart(plainName(device), device, devices, plainName);
}

QString withDeviceNames(const QString& sentence, const std::vector<DeviceInfo>& devices) {
    static const QRegularExpression kId(QStringLiteral("\\bopencl:\\d+\\b"));
    QString text;
    qsizetype end = 0;
    for (auto found = kId.globalMatch(sentence); found.hasNext();) {
        const QRegularExpressionMatch match = found.next();
        const auto device = std::find_if(
            devices.begin(), devices.end(),
            [&match](const DeviceInfo& known) { return toQString(known.id) == match.captured(); });
        if (device == devices.end()) continue;
        text += sentence.mid(end, match.capturedStart() - end) + deviceNameAmong(devices, *device);
        end = match.capturedEnd();
        // The engine may have put the name behind the id already.
        const QString name = QStringLiteral(" (%1)").arg(toQString(device->name));
        if (QStringView(sentence).mid(end).startsWith(name)) end += name.size();
    }
    return text + sentence.mid(end);
}

}  // namespace qllama
