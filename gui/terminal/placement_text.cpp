#include "gui/terminal/placement_text.h"

#include "gui/terminal/text_table.h"

namespace qllama {
namespace {

std::string layersText(const StagePlacement& stage) {
    const std::string first = std::to_string(stage.firstLayer);
    if (stage.layerCount == 1) return first;
    return first + "-" + std::to_string(stage.firstLayer + stage.layerCount - 1);
}

void addBytes(JsonObject& object, const char* key, const std::optional<std::int64_t>& bytes) {
    if (bytes) {
        object.add(key, *bytes);
    } else {
        object.addNull(key);
    }
}

}  // namespace

std::string placementTable(const PlacementPlan& plan) {
    std::vector<TextRow> rows{
        {"layers", "device", "weights", "KV cache", "buffers", "together", "has"}};
    for (const StagePlacement& stage : plan.stages)
        rows.push_back({layersText(stage), stage.device.id + " (" + stage.device.name + ")",
                        byteText(stage.weightBytes), byteText(stage.kvCacheBytes),
                        byteText(stage.scratchBytes), byteText(stage.totalBytes()),
                        stage.device.globalMemoryBytes ? byteText(*stage.device.globalMemoryBytes)
                                                       : "unknown"});
    return textTable(rows);
}

std::vector<JsonObject> placementObjects(const PlacementPlan& plan) {
    std::vector<JsonObject> stages;
    for (const StagePlacement& stage : plan.stages) {
        JsonObject object;
        object.add("device", stage.device.id)
            .add("first_layer", stage.firstLayer)
            .add("layers", stage.layerCount)
            .add("weights_bytes", stage.weightBytes)
            .add("kv_cache_bytes", stage.kvCacheBytes)
            .add("scratch_bytes", stage.scratchBytes);
        addBytes(object, "memory_bytes", stage.device.globalMemoryBytes);
        stages.push_back(std::move(object));
    }
    return stages;
}

}  // namespace qllama
