#include "engine/session/model_loader.h"
#include "gui/terminal/describe.h"
#include "gui/terminal/exit_code.h"
#include "gui/terminal/load_request.h"
#include "gui/terminal/output.h"
#include "gui/terminal/placement_text.h"

namespace qllama {
namespace {

Result<PlacementPlan> planFor(const CommandLine& commandLine) {
    QLLAMA_TRY(const LoadRequest request, completeLoadRequest(commandLine, {}));
    return planModel(request, {});
}

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

}  // namespace

int runPlan(const CommandLine& commandLine) {
    StandardOutput output{std::stop_source()};
    const Result<PlacementPlan> plan = planFor(commandLine);
    if (!plan) {
        const std::string message = plan.error().text();
        if (commandLine.json) output.write(jsonErrorLine(message));
        printError(message);
        return kExitFailed;
    }
    output.write(commandLine.json ? planJson(plan.value()) : planText(plan.value()));
    return output.problem().empty() ? kExitDone : kExitFailed;
}

}  // namespace qllama
