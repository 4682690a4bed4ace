// Devices in words.
#pragma once

#include <QString>
#include <vector>

#include "engine/backend/device.h"

namespace qllama {

// One line for a menu, and all that is known for a tool tip.
QString deviceLabel(const DeviceInfo& device);
QString deviceFacts(const DeviceInfo& device);
// The label or the name alone, with the id behind it where another one of `devices` has the same:
// two equal cards.
QString deviceLabelAmong(const std::vector<DeviceInfo>& devices, const DeviceInfo& device);
QString deviceNameAmong(const std::vector<DeviceInfo>& devices, const DeviceInfo& device);
// A sentence of the engine, with the names of `devices` in the place of ids like "opencl:0".
QString withDeviceNames(const QString& sentence, const std::vector<DeviceInfo>& devices);

}  // namespace qllama
