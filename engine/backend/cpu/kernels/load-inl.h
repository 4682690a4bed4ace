// Loads of f32, f16 and bf16 as f32 vectors and fetching ahead, for the kernels of this folder. Included once
// a target.
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

#include "engine/backend/cpu/kernels/weight_streams.h"

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

// Of a stream that a token waits for, what is to be fetched while kBytes from `at` on are used.
template <std::int64_t kBytes>
HWY_INLINE void FetchStream(const void* at, const cpu::FetchDistances& ahead) {
    FetchLinesToL2<kBytes>(static_cast<const std::byte*>(at) + ahead.far);
    FetchLines<kBytes>(static_cast<const std::byte*>(at) + ahead.near);
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

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
