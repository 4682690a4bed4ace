// --bench and --bench-seed.
#pragma once

#include "gui/command_line.h"

namespace qllama {

int runBenchmark(const CommandLine& commandLine);

}  // namespace qllama
