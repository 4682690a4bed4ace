// The --headless front end. Exit codes: 0 done, 1 could not do it, 2 wrong usage.
#pragma once

namespace qllama {

int runTerminal(int argc, char** argv);

}  // namespace qllama
