#include "gui/terminal/terminal.h"

namespace qllama {

int runTerminal(int, char**) {
    return 1;
}

}  // namespace qllama
