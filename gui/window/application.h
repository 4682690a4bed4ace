// What has to be done once for the whole program, window or test, after QApplication is there.
#pragma once

namespace qllama {

// Names, icons, and the words: English plurals, and the user's language where there is one.
void prepareApplication();

}  // namespace qllama
