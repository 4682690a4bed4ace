// --cache and --clear-cache: quantised and packed weights kept between runs.
#pragma once

#include "gui/command_line.h"

namespace qllama {

int runListCache(const CommandLine& commandLine);  // the exit code
int runClearCache(const CommandLine& commandLine);

}  // namespace qllama
