// The window front end: creates the application object and the main window.
#pragma once

namespace qllama {

int runWindow(int argc, char** argv);

}  // namespace qllama
