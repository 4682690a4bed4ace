// Chooses between the window and the terminal, nothing else.
#include "gui/command_line.h"
#include "gui/terminal/terminal.h"
#include "gui/window/window.h"

int main(int argc, char** argv) {
    if (qllama::wantsTerminal(argc, argv)) return qllama::runTerminal(argc, argv);
    return qllama::runWindow(argc, argv);
}
