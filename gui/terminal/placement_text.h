// Where the layers of a model are or would be, in bytes: as lines of a table and as JSON.
#pragma once

#include <string>
#include <vector>

#include "engine/session/placement.h"
#include "gui/terminal/json_object.h"

namespace qllama {

// A header, then one row a stage: layers, device, weights, KV cache, buffers, together, what it has.
std::string placementTable(const PlacementPlan& plan);
std::vector<JsonObject> placementObjects(const PlacementPlan& plan);

}  // namespace qllama
