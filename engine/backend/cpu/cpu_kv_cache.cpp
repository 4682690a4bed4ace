#include <algorithm>

#include "engine/backend/cpu/cpu_memory.h"
#include "engine/backend/cpu/kernels/row_kernels.h"

namespace qllama::cpu {
namespace {

void convert(const float* source, std::int64_t count, float* out) {
    std::copy_n(source, count, out);
}

void convert(const float* source, std::int64_t count, std::uint16_t* out) {
    narrow(DType::F16, source, count, out);
}

template <typename T>
void storePosition(const KvHead& head, std::int64_t position, const float* key,
                   const float* value) {
    const std::int64_t chunk = position / kKeyChunk;
    const std::int64_t row = position % kKeyChunk;
    convert(value, head.headDim,
            reinterpret_cast<T*>(head.values(chunk)) + row * paddedHeadDim(head.headDim));
    T* keys = reinterpret_cast<T*>(head.keys(chunk)) + row / kKeyBlock * kKeyBlock * head.headDim +
              row % kKeyBlock;
    constexpr std::int64_t kPiece = 64;  // however long a head is, on the stack
    T converted[kPiece];
    for (std::int64_t first = 0; first < head.headDim; first += kPiece) {
        const std::int64_t count = std::min(kPiece, head.headDim - first);
        convert(key + first, count, converted);
        for (std::int64_t dim = 0; dim < count; ++dim)
            keys[(first + dim) * kKeyBlock] = converted[dim];
    }
}

}  // namespace

void CpuKvCache::store(std::int64_t layer, std::int64_t kvHead, std::int64_t position,
                       const float* key, const float* value) {
    const KvHead target = head(layer, kvHead);
    if (m_shape.precision == KvPrecision::F16)
        storePosition<std::uint16_t>(target, position, key, value);
    else
        storePosition<float>(target, position, key, value);
}

}  // namespace qllama::cpu
