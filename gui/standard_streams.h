// Standard input, output and error as a program may expect them.
#pragma once

namespace qllama {

// Opens /dev/null in the place of each of the three that is closed, so that no file that is opened
// later takes its number and what is printed goes into that. Reading and writing still fail. Call it
// before any file is opened.
void holdStandardStreams();

// Waits until a descriptor that does not wait by itself can be read (POLLIN) or written (POLLOUT):
// O_NONBLOCK belongs to all who share a terminal or pipe, so that others may set it. False: never.
bool waitUntilReady(int descriptor, short event);

}  // namespace qllama
