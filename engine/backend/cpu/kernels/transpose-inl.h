// Square blocks of f32 turned about their diagonal. Included once a target.
#if defined(QLLAMA_CPU_TRANSPOSE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_TRANSPOSE_INL_H
#undef QLLAMA_CPU_TRANSPOSE_INL_H
#else
#define QLLAMA_CPU_TRANSPOSE_INL_H
#endif

#include "engine/backend/cpu/kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

constexpr int kLanes = static_cast<int>(hn::MaxLanes(F32Tag()));

#if HWY_TARGET != HWY_SCALAR

// Vectors i .. i + 3: each block of four lanes becomes a transposed 4 by 4.
HWY_INLINE void TransposeFours(F32Vector* v) {
    const F32Tag d;
    const hn::Repartition<double, F32Tag> pairs;
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, v[0], v[1]));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, v[0], v[1]));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, v[2], v[3]));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, v[2], v[3]));
    v[0] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
    v[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
    v[2] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
    v[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
}

// Of two vectors the even and the odd blocks of four lanes (AVX-512), or the lower and the upper ones.
HWY_INLINE void Unzip(F32Vector& a, F32Vector& b) {
#if HWY_TARGET <= HWY_AVX3
    const F32Vector even{_mm512_shuffle_f32x4(a.raw, b.raw, 0x88)};
    const F32Vector odd{_mm512_shuffle_f32x4(a.raw, b.raw, 0xDD)};
#else
    const F32Tag d;
    const F32Vector even = hn::ConcatLowerLower(d, b, a);
    const F32Vector odd = hn::ConcatUpperUpper(d, b, a);
#endif
    a = even;
    b = odd;
}

#endif

// vectors[i] lane k and vectors[k] lane i change places, for all kLanes vectors.
HWY_INLINE void Transpose(F32Vector* vectors) {
#if HWY_TARGET != HWY_SCALAR
#pragma GCC unroll 4
    for (int i = 0; i < kLanes; i += 4)
        TransposeFours(vectors + i);
#pragma GCC unroll 2
    for (int i = 0; i < kLanes && kLanes >= 8; i += 8)
#pragma GCC unroll 4
        for (int k = i; k < i + 4; ++k)
            Unzip(vectors[k], vectors[k + 4]);
#pragma GCC unroll 8
    for (int k = 0; k < 8 && kLanes == 16; ++k)
        Unzip(vectors[k], vectors[k + 8]);
#else
    (void)vectors;
#endif
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
