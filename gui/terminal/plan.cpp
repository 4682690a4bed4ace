#include "engine/session/model_loader.h"
#include "gui/terminal/answer.h"
#include "gui/terminal/describe.h"
#include "gui/terminal/load_request.h"
#include "gui/terminal/output.h"
#include "gui/terminal/placement_text.h"

namespace qllama {
namespace {

std::string planText(const PlacementPlan& plan) {
    std::string text = placementTable(plan);
    for (const std::string& note : plan.notes)
        text += withoutControls(note) + "\n";
    return text;
}

std::string planJson(const PlacementPlan& plan) {
    return JsonObject()
               .add("event", "plan")
               .add("placement", placementObjects(plan))
               .add("notes", plan.notes)
               .text() +
           "\n";
}

Result<std::string> planFor(const CommandLine& commandLine) {
    QLLAMA_TRY(const LoadRequest request, completeLoadRequest(commandLine, {}));
    QLLAMA_TRY(const PlacementPlan plan, planModel(request, {}));
    return commandLine.json ? planJson(plan) : planText(plan);
}

}  // namespace

int runPlan(const CommandLine& commandLine) {
    return printAnswer(commandLine.json, planFor(commandLine));
}

}  // namespace qllama
