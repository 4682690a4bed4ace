// What --bench and --perplexity say of the model that they measure: where it is, and why it is not
// where it was asked for.
#pragma once

#include <stop_token>
#include <string>

#include "engine/session/model_loader.h"
#include "gui/command_line.h"
#include "gui/terminal/json_object.h"
#include "gui/terminal/progress_line.h"

namespace qllama {

// loadModel(), around which standard error gets the plan for other devices than the CPU and the
// notes; with --json or --quiet it gets neither. Progress goes to `line`, which is erased again.
Result<std::unique_ptr<LoadedModel>> loadMeasured(const CommandLine& commandLine,
                                                  const LoadRequest& request, ProgressLine& line,
                                                  std::stop_token stop);

// "opencl:0 + cpu": every device that has layers.
std::string devicesOf(const ModelInfo& model);

void addModel(JsonObject& object, const ModelInfo& model);      // name, precision, device, threads
void addPlacement(JsonObject& object, const ModelInfo& model);  // placement, notes

}  // namespace qllama
