// What the command line says about the model, completed.
#pragma once

#include "gui/command_line.h"

namespace qllama {

// The named model, or the demo model; quantised weights are kept in the user's cache folder.
Result<LoadRequest> completeLoadRequest(const CommandLine& commandLine);

}  // namespace qllama
