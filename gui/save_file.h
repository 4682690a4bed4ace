// Writing files that appear under their name whole or not at all.
#pragma once

#include <QSaveFile>
#include <span>

namespace qllama {

// `file` must be open with QIODevice::Unbuffered: QSaveFile::commit() (Qt 6.4) takes no notice of a
// failure of what it writes itself at the end, nor of a write that was done in part. False when not
// all was written; errorString() then says why.
[[nodiscard]] bool writeWhole(QSaveFile& file, std::span<const char> bytes);

}  // namespace qllama
