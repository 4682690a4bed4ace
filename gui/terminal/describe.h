// --inspect and --list-devices.
#pragma once

#include "gui/command_line.h"

namespace qllama {

int runInspect(const CommandLine& commandLine);  // the exit code
int runListDevices(const CommandLine& commandLine);

}  // namespace qllama
