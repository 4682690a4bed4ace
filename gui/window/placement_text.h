// Where the layers of a model are, in words.
#pragma once

#include <QString>
#include <vector>

#include "engine/session/placement.h"

namespace qllama {

// "PoCL (layers 1–4) + CPU (layers 5–6)"; one device alone is just named.
QString placementSummary(const PlacementPlan& plan);
// "Big card (3 GiB of 8 GiB) + CPU (1 GiB)": how much of the memory of each is to be taken.
QString planSummary(const PlacementPlan& plan);
// A line a device with its bytes, then the notes: why it is not simply what was asked for.
QString placementDetails(const PlacementPlan& plan);
[[nodiscard]] std::vector<DeviceInfo> devicesOf(const PlacementPlan& plan);
// People count from one.
QString layerRange(const StagePlacement& stage);

}  // namespace qllama
