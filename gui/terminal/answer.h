// What the actions have in common that end in one answer instead of a running text.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "engine/common/result.h"

namespace qllama {

// Prints a text on standard output, or an error as a line on standard error and with `json` as an event
// before it. A text that could not be written is an error too. Returns the exit code.
int printAnswer(bool json, const Result<std::string>& answer);

// Prints what `work` answers; Ctrl-C asks it to stop. To be called before other threads start.
int printAnswerOf(bool json, const std::function<Result<std::string>(std::stop_token)>& work);

}  // namespace qllama
