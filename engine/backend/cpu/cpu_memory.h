// What the CPU backend's buffers and caches are made of. Private to backend/cpu.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/kernels/attention_kernels.h"
#include "engine/common/host_memory.h"

namespace qllama::cpu {

class CpuBuffer final : public Buffer {
public:
    CpuBuffer(std::shared_ptr<HostMemory> memory, std::int64_t size)
        : m_memory(std::move(memory)), m_size(size) {}
    [[nodiscard]] float* data() const { return reinterpret_cast<float*>(m_memory->data()); }
    [[nodiscard]] std::int64_t size() const { return m_size; }

private:
    std::shared_ptr<HostMemory> m_memory;
    std::int64_t m_size;  // floats
};

inline float* dataOf(const Buffer& buffer) {
    return static_cast<const CpuBuffer&>(buffer).data();
}

// Keys and values of all layers in one zeroed block; see KvHead for the layout of one head.
class CpuKvCache final : public KvCache {
public:
    CpuKvCache(const KvShape& shape, std::shared_ptr<HostMemory> memory)
        : m_shape(shape), m_memory(std::move(memory)) {}

    // Positions are rounded up to whole chunks so that kernels need no tails.
    [[nodiscard]] static std::int64_t paddedCapacity(const KvShape& shape) {
        return (shape.capacity + kKeyChunk - 1) / kKeyChunk * kKeyChunk;
    }
    [[nodiscard]] static std::int64_t bytesPerHead(const KvShape& shape) {
        const std::int64_t element = shape.precision == KvPrecision::F16 ? 2 : 4;
        return paddedCapacity(shape) * (shape.headDim + paddedHeadDim(shape.headDim)) * element;
    }

    [[nodiscard]] KvHead head(std::int64_t layer, std::int64_t kvHead) const {
        std::byte* start =
            m_memory->data() + (layer * m_shape.kvHeadCount + kvHead) * bytesPerHead(m_shape);
        const std::int64_t element = m_shape.precision == KvPrecision::F16 ? 2 : 4;
        return {.precision = m_shape.precision,
                .keys = start,
                .values = start + paddedCapacity(m_shape) * m_shape.headDim * element,
                .headDim = m_shape.headDim};
    }
    // Writes the key and value [headDim] of one position.
    void store(std::int64_t layer, std::int64_t kvHead, std::int64_t position, const float* key,
               const float* value);
    [[nodiscard]] const KvShape& shape() const { return m_shape; }

private:
    KvShape m_shape;
    std::shared_ptr<HostMemory> m_memory;
};

}  // namespace qllama::cpu
