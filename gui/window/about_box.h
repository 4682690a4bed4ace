// What the program is, its version and licence.
#pragma once

class QWidget;

namespace qllama {

void showAboutBox(QWidget* parent);  // does not block

}  // namespace qllama
