// --make-model.
#pragma once

#include "gui/command_line.h"

namespace qllama {

int runMakeModel(const CommandLine& commandLine);  // the exit code

}  // namespace qllama
