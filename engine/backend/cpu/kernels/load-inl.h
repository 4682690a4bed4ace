// Loads of f32, f16 and bf16 as f32 vectors, for the kernels of this folder. Included once a target.
#if defined(QLLAMA_CPU_LOAD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_LOAD_INL_H
#undef QLLAMA_CPU_LOAD_INL_H
#else
#define QLLAMA_CPU_LOAD_INL_H
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32Tag = hn::ScalableTag<float>;
using F32Vector = hn::Vec<F32Tag>;

// 32 registers of 16 lanes, for 16 registers of 8 or 4.
constexpr bool kHasAvx512 = HWY_TARGET <= HWY_AVX3;

// Added to a number below 2^22 it leaves the nearest integer in the lowest bits, in one instruction where
// hn::NearestInt takes five.
constexpr float kWholeBits = 12582912.0F;  // 1.5 * 2^23

constexpr std::int64_t kLineBytes = 64;  // of a cache

// Keeps a value in a register of its own: this compiler would rather load it again for each use, or form
// many values first and spill them.
template <typename Vector>
HWY_INLINE void Settle(Vector& value) {
#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
    asm("" : "+v"(value.raw));
#else
    (void)value;
#endif
}

// Fetches kBytes from `begin` on into all caches, or into all but the first. Any address will do: fetching
// never faults.
template <std::int64_t kBytes>
HWY_INLINE void FetchLines(const void* begin) {
    for (std::int64_t line = 0; line < kBytes; line += kLineBytes)
        __builtin_prefetch(static_cast<const std::byte*>(begin) + line, 0, 3);
}
template <std::int64_t kBytes>
HWY_INLINE void FetchLinesToL2(const void* begin) {
    for (std::int64_t line = 0; line < kBytes; line += kLineBytes)
        __builtin_prefetch(static_cast<const std::byte*>(begin) + line, 0, 2);
}

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
