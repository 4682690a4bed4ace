// Devices and placements for the tests of the window, by hand.
#pragma once

#include "engine/backend/device.h"
#include "engine/session/placement.h"

namespace qllama {

inline StagePlacement stageOn(const DeviceInfo& device, std::int64_t firstLayer,
                              std::int64_t layerCount, std::int64_t weightBytes = 0) {
    StagePlacement stage;
    stage.device = device;
    stage.firstLayer = firstLayer;
    stage.layerCount = layerCount;
    stage.weightBytes = weightBytes;
    return stage;
}

inline DeviceInfo named(const char* id, const char* name) {
    DeviceInfo device;
    device.id = id;
    device.name = name;
    return device;
}

inline DeviceInfo bigCard() {
    DeviceInfo card = named("opencl:0", "Big card");
    card.globalMemoryBytes = 8LL << 30;
    return card;
}

}  // namespace qllama
