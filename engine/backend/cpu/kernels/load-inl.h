// Loads of f32, f16 and bf16 as f32 vectors, for the kernels of this folder. Included once a target.
#if defined(QLLAMA_CPU_LOAD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_LOAD_INL_H
#undef QLLAMA_CPU_LOAD_INL_H
#else
#define QLLAMA_CPU_LOAD_INL_H
#endif

#include <hwy/highway.h>

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32Tag = hn::ScalableTag<float>;
using F32Vector = hn::Vec<F32Tag>;

HWY_INLINE F32Vector LoadAsF32(F32Tag d, const float* source) {
    return hn::LoadU(d, source);
}

template <typename Narrow>  // hwy::float16_t or hwy::bfloat16_t
HWY_INLINE F32Vector LoadAsF32(F32Tag d, const Narrow* source) {
    const hn::Rebind<Narrow, F32Tag> narrow;
    return hn::PromoteTo(d, hn::LoadU(narrow, source));
}

// The first `count` < lanes elements, zero behind them; never reads past source[count - 1].
template <typename T>
HWY_INLINE F32Vector LoadTailAsF32(F32Tag d, const T* source, std::size_t count) {
    HWY_ALIGN T padded[hn::MaxLanes(F32Tag())] = {};
    std::memcpy(padded, source, count * sizeof(T));
    return LoadAsF32(d, padded);
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
