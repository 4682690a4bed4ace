// --inspect, --plan and --list-devices.
#pragma once

#include "gui/command_line.h"

namespace qllama {

int runInspect(const CommandLine& commandLine);  // the exit code
int runPlan(const CommandLine& commandLine);
int runListDevices(const CommandLine& commandLine);

}  // namespace qllama
