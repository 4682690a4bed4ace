// The lanes of many vectors folded to one value each, eight vectors at once where the instruction set
// can. Included once a target.
#if defined(QLLAMA_CPU_FOLD_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_FOLD_LANES_INL_H
#undef QLLAMA_CPU_FOLD_LANES_INL_H
#else
#define QLLAMA_CPU_FOLD_LANES_INL_H
#endif

#include "engine/backend/cpu/kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

// What the lanes of a vector are folded to.
struct LaneSum {
    HWY_INLINE static F32Vector join(F32Vector a, F32Vector b) { return hn::Add(a, b); }
    HWY_INLINE static float of(F32Tag d, F32Vector v) { return hn::GetLane(hn::SumOfLanes(d, v)); }
};
struct LargestLane {
    HWY_INLINE static F32Vector join(F32Vector a, F32Vector b) { return hn::Max(a, b); }
    HWY_INLINE static float of(F32Tag d, F32Vector v) { return hn::GetLane(hn::MaxOfLanes(d, v)); }
};

// out[i] = the lanes of vectors[i], i < 8, halves folded onto each other as hn::SumOfLanes folds them, so
// that both give the same bits of a sum.
#if HWY_TARGET == HWY_AVX2
template <typename Fold>
HWY_INLINE void FoldLanesOfEight(F32Tag d, const F32Vector* vectors, float* out) {
    const auto fold = [&](int i, int j) HWY_ATTR {
        const F32Vector a = vectors[i], b = vectors[j];
        return Fold::join(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
    };
    const auto interleave = [d](F32Vector a, F32Vector b) HWY_ATTR {
        return Fold::join(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
    };
    const hn::Repartition<double, F32Tag> pairs;
    const F32Vector first = interleave(fold(0, 4), fold(1, 5));
    const F32Vector second = interleave(fold(2, 6), fold(3, 7));
    const auto a = hn::BitCast(pairs, first);
    const auto b = hn::BitCast(pairs, second);
    hn::StoreU(Fold::join(hn::BitCast(d, hn::InterleaveLower(pairs, a, b)),
                          hn::BitCast(d, hn::InterleaveUpper(pairs, a, b))),
               d, out);
}
#elif HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
template <typename Fold>
HWY_INLINE void FoldLanesOfEight(F32Tag d, const F32Vector* vectors, float* out) {
    const hn::Repartition<double, F32Tag> pairs;
    // Eight lanes each of vectors i and i + 1.
    const auto halves = [&](int i) HWY_ATTR {
        const F32Vector a = vectors[i], b = vectors[i + 1];
        return Fold::join(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
    };
    // Four lanes each of vectors i .. i + 3, in order.
    const auto quarters = [&](int i) HWY_ATTR {
        const auto a = halves(i).raw, b = halves(i + 2).raw;
        return hn::BitCast(pairs, Fold::join(F32Vector{_mm512_shuffle_f32x4(a, b, 0x88)},
                                             F32Vector{_mm512_shuffle_f32x4(a, b, 0xDD)}));
    };
    const auto low = quarters(0), high = quarters(4);
    // In block i two lanes of vector i, then two of vector i + 4.
    const F32Vector twos = Fold::join(hn::BitCast(d, hn::InterleaveLower(pairs, low, high)),
                                      hn::BitCast(d, hn::InterleaveUpper(pairs, low, high)));
    const F32Vector ones = Fold::join(twos, hn::Shuffle2301(twos));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm256_storeu_ps(out, _mm512_castps512_ps256(_mm512_permutexvar_ps(order, ones.raw)));
}
#else
template <typename Fold>
HWY_INLINE void FoldLanesOfEight(F32Tag d, const F32Vector* vectors, float* out) {
    for (int i = 0; i < 8; ++i)
        out[i] = Fold::of(d, vectors[i]);
}
#endif

// The same for any number: eight at a time, the last ones beside others that were done before.
template <typename Fold, int kCount>
HWY_INLINE void FoldLanes(F32Tag d, const F32Vector* vectors, float* out) {
    for (int i = 0; i + 8 <= kCount; i += 8)
        FoldLanesOfEight<Fold>(d, vectors + i, out + i);
    if constexpr (kCount % 8 != 0 && kCount > 8)
        FoldLanesOfEight<Fold>(d, vectors + kCount - 8, out + kCount - 8);
    else
        for (int i = kCount / 8 * 8; i < kCount; ++i)
            out[i] = Fold::of(d, vectors[i]);
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
