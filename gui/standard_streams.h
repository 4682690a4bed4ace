// Standard input, output and error as a program may expect them.
#pragma once

namespace qllama {

// Opens /dev/null in the place of each of the three that is closed, so that no file that is opened
// later takes its number and what is printed goes into that. Reading and writing still fail. Call it
// before any file is opened.
void holdStandardStreams();

}  // namespace qllama
