// What products of quantised tiles with rounded activations read. Included once a target.
#if defined(QLLAMA_CPU_TILE_OPERANDS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_TILE_OPERANDS_INL_H
#undef QLLAMA_CPU_TILE_OPERANDS_INL_H
#else
#define QLLAMA_CPU_TILE_OPERANDS_INL_H
#endif

#include <hwy/highway.h>

#include "engine/backend/cpu/kernels/quant_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

using cpu::QuantizedActivations;

// The activations of neighbouring tokens, kStride of them being stored together.
template <int kStride>
struct TokenBlocks {
    const std::int8_t* groups;  // of four columns, [block][group][kStride][4]
    const float* scales;        // [pair][kStride]
    const std::int32_t* pairSums;
    const std::int32_t* starts;  // [block][kStride]
    const std::int32_t* nibbleStarts;
};

template <int kStride>
HWY_INLINE TokenBlocks<kStride> BlocksFrom(const QuantizedActivations& activations,
                                           std::int64_t token) {
    const std::int64_t first = activations.place(token, 0);
    const std::int64_t firstPair = activations.pairPlace(token, 0);
    return {activations.values.data() + activations.groupPlace(token, 0, 0),
            activations.scales.data() + firstPair, activations.pairSums.data() + firstPair,
            activations.starts.data() + first, activations.nibbleStarts.data() + first};
}

struct Tile {
    const std::byte* blocks;
    const float* factors;  // null for q8
};

template <BlockFormat kFormat>
constexpr std::int64_t BlockBytes() {
    return kFormat == BlockFormat::Q8 ? 544 : 288;
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
