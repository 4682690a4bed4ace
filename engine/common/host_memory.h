// Large blocks of zeroed memory straight from the operating system: pages become resident when they
// are first written, huge pages where asked for and available.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/common/result.h"

namespace qllama {

class HostMemory {
public:
    // Page-aligned (2 MiB-aligned with hugePages). `what` names the purpose in the error
    // ("the KV cache"). Fails with OutOfMemory, also when more is asked for than the machine has.
    static Result<std::shared_ptr<HostMemory>> allocate(std::int64_t sizeBytes, bool hugePages,
                                                        const char* what);
    ~HostMemory();
    HostMemory(const HostMemory&) = delete;
    HostMemory& operator=(const HostMemory&) = delete;

    [[nodiscard]] std::byte* data() const { return m_data; }
    [[nodiscard]] std::int64_t sizeBytes() const { return m_sizeBytes; }

private:
    HostMemory(void* mapping, std::size_t mappingBytes, std::byte* data, std::int64_t sizeBytes)
        : m_mapping(mapping), m_mappingBytes(mappingBytes), m_data(data), m_sizeBytes(sizeBytes) {}

    void* m_mapping;
    std::size_t m_mappingBytes;
    std::byte* m_data;
    std::int64_t m_sizeBytes;
};

// Memory that was freed but that the allocator keeps for later goes back to the system. To be called when
// something large is gone whose memory came in pieces, as that of OpenCL drivers does.
void returnFreeMemory();

// What the machine has, and what could be taken now without swapping (0: not known).
std::int64_t totalMemoryBytes();
std::int64_t availableMemoryBytes();

}  // namespace qllama
