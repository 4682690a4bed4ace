// --headless: load a model, generate, report.
#pragma once

#include "gui/command_line.h"

namespace qllama {

int runGenerate(const CommandLine& commandLine);  // the exit code

}  // namespace qllama
