// What the command line says about the model, completed.
#pragma once

#include <stop_token>

#include "gui/command_line.h"

namespace qllama {

// The named model, or the demo model; quantised and packed weights are kept in the user's cache folder. `stop`
// answers No to the question whether to go on without a device.
Result<LoadRequest> completeLoadRequest(const CommandLine& commandLine, std::stop_token stop);

}  // namespace qllama
