// Working memory of the CPU kernels, aligned to vectors. Private to backend/cpu.
#pragma once

#include <hwy/aligned_allocator.h>

#include <cstdint>
#include <new>

namespace qllama::cpu {

// Grows, never shrinks; what it held is lost when it grows. Throws std::bad_alloc.
class AlignedFloats {
public:
    void resize(std::int64_t count) {
        if (count <= m_capacity) return;
        m_capacity = 0;
        m_floats = hwy::AllocateAligned<float>(static_cast<std::size_t>(count));
        if (!m_floats) throw std::bad_alloc();
        m_capacity = count;
    }
    [[nodiscard]] float* get() const { return m_floats.get(); }

private:
    std::int64_t m_capacity = 0;
    hwy::AlignedFreeUniquePtr<float[]> m_floats;
};

}  // namespace qllama::cpu
