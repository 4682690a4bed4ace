#include "engine/common/host_memory.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace qllama {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

std::int64_t memoryFact(const std::string& key) {
    std::ifstream facts("/proc/meminfo");
    std::string name;
    std::string unit;
    std::int64_t kibibytes = 0;
    while (facts >> name >> kibibytes) {
        std::getline(facts, unit);
        if (name == key + ":") return kibibytes * 1024;
    }
    return 0;
}

Error outOfMemory(std::int64_t sizeBytes, const char* what) {
    const auto mebibytes = [](std::int64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
    return {ErrorCode::OutOfMemory,
            "Not enough memory for " + std::string(what) + ": " + mebibytes(sizeBytes) +
                " are needed and " + mebibytes(availableMemoryBytes()) +
                " are available. Close other programs, or choose a smaller model, a smaller "
                "precision or a shorter context.",
            {}};
}

}  // namespace

Result<std::shared_ptr<HostMemory>> HostMemory::allocate(std::int64_t sizeBytes, bool hugePages,
                                                         const char* what) {
    // The system hands out addresses freely and kills the process later, so ask it beforehand.
    const std::int64_t total = totalMemoryBytes();
    if (sizeBytes < 0 || (total > 0 && sizeBytes > total)) return outOfMemory(sizeBytes, what);
    const auto size = static_cast<std::size_t>(sizeBytes > 0 ? sizeBytes : 1);
    const bool aligned = hugePages && size >= kHugePageBytes;
    const std::size_t mappingBytes = size + (aligned ? kHugePageBytes : 0);
    void* mapping = ::mmap(nullptr, mappingBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return outOfMemory(sizeBytes, what);
    auto address = reinterpret_cast<std::uintptr_t>(mapping);
    if (aligned) {
        address = (address + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
        ::madvise(reinterpret_cast<void*>(address), size, MADV_HUGEPAGE);
    }
    return std::shared_ptr<HostMemory>(
        new HostMemory(mapping, mappingBytes, reinterpret_cast<std::byte*>(address), sizeBytes));
}

HostMemory::~HostMemory() {
    ::munmap(m_mapping, m_mappingBytes);
}

void returnFreeMemory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

std::int64_t totalMemoryBytes() {
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? std::int64_t{pages} * page : 0;
}

std::int64_t availableMemoryBytes() {
    return memoryFact("MemAvailable");
}

}  // namespace qllama
