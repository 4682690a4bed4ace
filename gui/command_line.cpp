#include "gui/command_line.h"

namespace qllama {

bool wantsTerminal(int, const char* const*) {
    return true;
}

}  // namespace qllama
