#include "gui/terminal/measured_model.h"

#include "gui/terminal/output.h"
#include "gui/terminal/placement_text.h"

namespace qllama {
namespace {

std::string joinedDevices(const ModelInfo& model, const char* between) {
    std::string text;
    for (const StagePlacement& stage : model.placement.stages)
        text += (text.empty() ? "" : between) + stage.device.id;
    return text;
}

}  // namespace

Result<std::unique_ptr<LoadedModel>> loadMeasured(const CommandLine& commandLine,
                                                  const LoadRequest& request, ProgressLine& line,
                                                  std::stop_token stop) {
    const bool tells = !commandLine.json && !commandLine.quiet;
    line.erase();
    LoadRequest load = request;
    if (tells && load.device != "cpu")
        load.planMade = [&line](const PlacementPlan& plan) {
            line.erase();
            printLines(placementTable(plan));
        };
    auto model = loadModel(
        load, [&line](const LoadProgress& progress) { line.showLoading(progress); },
        std::move(stop));
    line.erase();
    if (tells && model.ok())
        for (const std::string& note : model.value()->info.notes)
            printError("Note: " + note);
    return model;
}

std::string devicesOf(const ModelInfo& model) {
    return joinedDevices(model, " + ");
}

void addModel(JsonObject& object, const ModelInfo& model) {
    object.add("name", model.name)
        .add("precision", model.precision)
        .add("device", joinedDevices(model, ","))
        .add("threads", model.threadCount);
}

void addPlacement(JsonObject& object, const ModelInfo& model) {
    object.add("placement", placementObjects(model.placement)).add("notes", model.notes);
}

}  // namespace qllama
