#include "gui/window/placement_text.h"

#include <QCoreApplication>
#include <QLocale>
#include <QStringList>
#include <vector>

#include "gui/window/device_text.h"
#include "gui/window/text.h"

namespace qllama {
namespace {

QString translated(const char* text) {
    return QCoreApplication::translate("Placement", text);
}

QString bytes(std::int64_t count) {
    return QLocale().formattedDataSize(count);
}

QString deviceName(const PlacementPlan& plan, const StagePlacement& stage) {
    return deviceNameAmong(devicesOf(plan), stage.device);
}

// For one line about several devices.
QString shortDeviceName(const PlacementPlan& plan, const StagePlacement& stage) {
    return stage.device.id == "cpu" ? translated("CPU") : deviceName(plan, stage);
}

}  // namespace

std::vector<DeviceInfo> devicesOf(const PlacementPlan& plan) {
    std::vector<DeviceInfo> devices;
    for (const StagePlacement& stage : plan.stages)
        devices.push_back(stage.device);
    return devices;
}

QString layerRange(const StagePlacement& stage) {
    const QString first = QLocale().toString(qint64(stage.firstLayer + 1));
    if (stage.layerCount == 1) return first;
    return translated("%1–%2").arg(first,
                                   QLocale().toString(qint64(stage.firstLayer + stage.layerCount)));
}

QString placementSummary(const PlacementPlan& plan) {
    if (plan.stages.size() == 1) return toQString(plan.stages.front().device.name);
    QStringList parts;
    for (const StagePlacement& stage : plan.stages)
        parts += translated("%1 (layers %2)").arg(shortDeviceName(plan, stage), layerRange(stage));
    return parts.join(QStringLiteral(" + "));
}

QString planSummary(const PlacementPlan& plan) {
    QStringList parts;
    for (const StagePlacement& stage : plan.stages)
        parts += stage.device.globalMemoryBytes
                     ? translated("%1 (%2 of %3)")
                           .arg(shortDeviceName(plan, stage), bytes(stage.totalBytes()),
                                bytes(*stage.device.globalMemoryBytes))
                     : translated("%1 (%2)").arg(shortDeviceName(plan, stage),
                                                 bytes(stage.totalBytes()));
    return parts.join(QStringLiteral(" + "));
}

QString placementDetails(const PlacementPlan& plan) {
    QStringList lines;
    for (const StagePlacement& stage : plan.stages) {
        QString line =
            translated("%1, layers %2: weights %3, keys and values %4, buffers %5")
                .arg(deviceName(plan, stage), layerRange(stage), bytes(stage.weightBytes),
                     bytes(stage.kvCacheBytes), bytes(stage.scratchBytes));
        if (stage.device.globalMemoryBytes)
            line =
                translated("%1; together %2 of %3")
                    .arg(line, bytes(stage.totalBytes()), bytes(*stage.device.globalMemoryBytes));
        lines += line;
    }
    for (const std::string& note : plan.notes)
        lines += withDeviceNames(toQString(note), devicesOf(plan));
    return lines.join(u'\n');
}

}  // namespace qllama
