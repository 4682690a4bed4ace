// Chooses between the window and the terminal, nothing else.
#include <csignal>
#include <cstdio>
#include <cstring>

#include "gui/command_line.h"
#include "gui/display.h"
#include "gui/standard_streams.h"
#include "gui/terminal/exit_code.h"
#include "gui/terminal/terminal.h"
#include "gui/window/window.h"

int main(int argc, char** argv) {
    qllama::holdStandardStreams();
    std::signal(SIGXFSZ, SIG_IGN);  // a file that is too large for a limit fails like a full disk
    // packaging/run.sh asks beforehand, with all that the user gave it behind.
    const bool onlyAsks = argc > 1 && std::strcmp(argv[1], "--check-display") == 0;
    if (onlyAsks) {
        --argc;
        ++argv;
    }
    if (onlyAsks && qllama::wantsTerminal(argc, argv)) return qllama::kExitDone;
    if (qllama::wantsTerminal(argc, argv)) return qllama::runTerminal(argc, argv);
    if (const std::string problem = qllama::displayProblem(argc, argv); !problem.empty()) {
        std::fprintf(stderr, "%s\n", problem.c_str());
        return qllama::kExitFailed;
    }
    if (onlyAsks) return qllama::kExitDone;
    return qllama::runWindow(argc, argv);
}
