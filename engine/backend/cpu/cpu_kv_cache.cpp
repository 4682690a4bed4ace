#include "engine/backend/cpu/cpu_memory.h"

namespace qllama::cpu {
namespace {

template <typename T, typename Convert>
void storePosition(const KvHead& head, std::int64_t position, const float* key, const float* value,
                   Convert convert) {
    const std::int64_t chunk = position / kKeyChunk;
    const std::int64_t row = position % kKeyChunk;
    T* keys = reinterpret_cast<T*>(head.keys(chunk)) + row / kKeyBlock * kKeyBlock * head.headDim +
              row % kKeyBlock;
    T* values = reinterpret_cast<T*>(head.values(chunk)) + row * paddedHeadDim(head.headDim);
    for (std::int64_t dim = 0; dim < head.headDim; ++dim) {
        keys[dim * kKeyBlock] = convert(key[dim]);
        values[dim] = convert(value[dim]);
    }
}

}  // namespace

void CpuKvCache::store(std::int64_t layer, std::int64_t kvHead, std::int64_t position,
                       const float* key, const float* value) {
    const KvHead target = head(layer, kvHead);
    if (m_shape.precision == KvPrecision::F16)
        storePosition<std::uint16_t>(target, position, key, value, floatToHalf);
    else
        storePosition<float>(target, position, key, value, [](float number) { return number; });
}

}  // namespace qllama::cpu
