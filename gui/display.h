// Whether there is a display to open a window on; without one Qt ends the program with a core dump.
#pragma once

#include <string>

namespace qllama {

// Why no window can be opened, as a sentence; "" when there is a display, or when the user chose a
// platform of Qt himself (QT_QPA_PLATFORM, -platform).
std::string displayProblem(int argc, const char* const* argv);

}  // namespace qllama
