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

// Keys and values of all layers in one zeroed block, [chunk of positions][layer][kv head]: it fills from
// its beginning as the context grows, so that huge pages hold little more than what is used. See KvHead
// for a chunk of a head.
class CpuKvCache final : public KvCache {
public:
    CpuKvCache(const KvShape& shape, std::shared_ptr<HostMemory> memory)
        : m_shape(shape), m_memory(std::move(memory)) {}

    // Positions are rounded up to whole chunks so that kernels need no tails.
    [[nodiscard]] static std::int64_t bytesNeeded(const KvShape& shape) {
        return (shape.capacity + kKeyChunk - 1) / kKeyChunk * chunkBytes(shape);
    }

    [[nodiscard]] KvHead head(std::int64_t layer, std::int64_t kvHead) const {
        return {.precision = m_shape.precision,
                .data = m_memory->data() +
                        (layer * m_shape.kvHeadCount + kvHead) * headChunkBytes(m_shape),
                .chunkBytes = chunkBytes(m_shape),
                .headDim = m_shape.headDim};
    }
    // Writes the key and value [headDim] of one position.
    void store(std::int64_t layer, std::int64_t kvHead, std::int64_t position, const float* key,
               const float* value);
    [[nodiscard]] const KvShape& shape() const { return m_shape; }

private:
    static std::int64_t headChunkBytes(const KvShape& shape) {
        return chunkElements(shape.headDim) * KvHead::elementBytes(shape.precision);
    }
    static std::int64_t chunkBytes(const KvShape& shape) {
        return shape.layerCount * shape.kvHeadCount * headChunkBytes(shape);
    }

    KvShape m_shape;
    std::shared_ptr<HostMemory> m_memory;
};

}  // namespace qllama::cpu
