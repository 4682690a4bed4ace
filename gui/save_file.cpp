#include "gui/save_file.h"

#include <cassert>

namespace qllama {

bool writeWhole(QSaveFile& file, std::span<const char> bytes) {
    assert(file.openMode() & QIODevice::Unbuffered);
    while (!bytes.empty()) {
        const qint64 count = file.write(bytes.data(), static_cast<qint64>(bytes.size()));
        if (count <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return true;
}

}  // namespace qllama
