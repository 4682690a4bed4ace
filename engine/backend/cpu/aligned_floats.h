// Working memory of the CPU kernels, aligned to vectors. Private to backend/cpu.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace qllama::cpu {

// Grows, never shrinks; what it held is lost when it grows. Throws std::bad_alloc. In huge pages where it
// is large enough and the system has them. (Not HostMemory: AddressSanitizer watches the ends of this.)
class AlignedFloats {
public:
    void resize(std::int64_t count) {
        if (count <= m_capacity) return;
        m_capacity = 0;
        m_floats.reset();
        const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
        void* memory = nullptr;
        if (posix_memalign(&memory, bytes < kHugePageBytes ? kVectorBytes : kHugePageBytes,
                           bytes) != 0)
            throw std::bad_alloc();
        m_floats.reset(static_cast<float*>(memory));
        if (bytes >= kHugePageBytes) ::madvise(memory, bytes, MADV_HUGEPAGE);
        m_capacity = count;
    }
    [[nodiscard]] float* get() const { return m_floats.get(); }

private:
    struct Free {
        void operator()(float* memory) const { std::free(memory); }
    };
    static constexpr std::size_t kVectorBytes = 128;  // of two lines, as pairs of them are fetched
    static constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

    std::int64_t m_capacity = 0;
    std::unique_ptr<float[], Free> m_floats;
};

}  // namespace qllama::cpu
