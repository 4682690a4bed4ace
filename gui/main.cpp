// Chooses between the window and the terminal, nothing else.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "gui/command_line.h"
#include "gui/standard_streams.h"
#include "gui/terminal/terminal.h"
#include "gui/window/window.h"

namespace {

bool isSet(const char* variable) {
    const char* value = std::getenv(variable);
    return value != nullptr && *value != '\0';
}

// Without a display Qt ends the program with a core dump: say what is the matter instead.
bool hasDisplay(int argc, char** argv) {
    for (int index = 1; index < argc; ++index)
        if (std::strcmp(argv[index], "-platform") == 0) return true;
    return isSet("DISPLAY") || isSet("WAYLAND_DISPLAY") || isSet("QT_QPA_PLATFORM");
}

}  // namespace

int main(int argc, char** argv) {
    qllama::holdStandardStreams();
    if (qllama::wantsTerminal(argc, argv)) return qllama::runTerminal(argc, argv);
    if (!hasDisplay(argc, argv)) {
        std::fputs(
            "There is no display to open the window on (neither DISPLAY nor WAYLAND_DISPLAY is "
            "set); use --headless to generate in the terminal.\n",
            stderr);
        return 1;
    }
    return qllama::runWindow(argc, argv);
}
