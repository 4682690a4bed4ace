#include "gui/window/process_memory.h"

#include <unistd.h>

#include <fstream>

namespace qllama {

std::optional<std::int64_t> residentBytes() {
    // proc(5), statm: total and resident size, in pages.
    std::ifstream statistics("/proc/self/statm");
    std::int64_t total = 0;
    std::int64_t resident = 0;
    if (!(statistics >> total >> resident)) return std::nullopt;
    return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace qllama
