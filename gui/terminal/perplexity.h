// --perplexity.
#pragma once

#include "gui/command_line.h"

namespace qllama {

int runPerplexity(const CommandLine& commandLine);  // the exit code

}  // namespace qllama
