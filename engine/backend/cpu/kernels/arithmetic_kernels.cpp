#include "engine/backend/cpu/kernels/arithmetic_kernels.h"

#include <cstring>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/arithmetic_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/int8-inl.h"

HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3_DL
#pragma GCC target("avx512vnni")  // the target has it, Highway's list of flags for it does not
#endif
namespace qllama::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sums that are under way at once: more than latency times instructions a cycle, and few enough for 16
// registers.
constexpr int kSums = 12;

// The compiler must believe that each sum is used and changed here, or it would do the work beforehand.
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
template <typename Vector>
HWY_INLINE void Opaque(Vector& sum) {
    asm volatile("" : "+m"(sum));
}
#else
template <typename Vector>
HWY_INLINE void Opaque(Vector& sum) {
    asm volatile("" : "+v"(sum.raw));
}
#endif

std::int64_t MultiplyAddF32(std::int64_t rounds) {
    const hn::ScalableTag<float> d;
    auto a = hn::Set(d, 1.0F);
    auto b = hn::Set(d, 0.0F);
    Opaque(a);
    Opaque(b);
    hn::Vec<decltype(d)> sums[kSums];
    for (auto& sum : sums)
        sum = hn::Zero(d);
    for (std::int64_t round = 0; round < rounds; ++round)
        for (auto& sum : sums) {
            sum = hn::MulAdd(a, b, sum);
            Opaque(sum);
        }
    return rounds * kSums * static_cast<std::int64_t>(hn::Lanes(d));
}

#if QLLAMA_HAVE_INT8

// Without VNNI: products in pairs of 16 bits, pairs of those in 32 bits, and the addition.
HWY_INLINE void AddProducts(Bytes weights, Bytes activations, Ints& sum) {
#if HWY_TARGET == HWY_AVX3_DL
    AddFourProducts(weights, activations, sum);
#else
    sum = hn::Add(sum, SumPairs(MulPairs(weights, activations)));
#endif
}

// One turn; counted through at compile time alone, or this compiler keeps the sums in memory and
// the peak is that of loads and stores.
template <int... kSum>
HWY_INLINE void AddToEach(Bytes weights, Bytes& activations, Ints* sums,
                          std::integer_sequence<int, kSum...>) {
    ((Opaque(activations), AddProducts(weights, activations, sums[kSum]), Opaque(sums[kSum])), ...);
}

std::int64_t MultiplyAddInt8(std::int64_t rounds) {
    const auto weights = hn::Set(ByteTag(), 1);
    auto activations = hn::Set(ByteTag(), 0);
    Ints sums[kSums] = {};
    for (std::int64_t round = 0; round < rounds; ++round)
        AddToEach(weights, activations, sums, std::make_integer_sequence<int, kSums>());
    return rounds * kSums * static_cast<std::int64_t>(hn::Lanes(ByteTag()));
}

#else

std::int64_t MultiplyAddInt8(std::int64_t rounds) {
    std::int32_t sums[kSums] = {};
    std::int32_t activation = 0;
    for (std::int64_t round = 0; round < rounds; ++round)
        for (std::int32_t& sum : sums) {
            asm volatile("" : "+r"(activation));
            sum += activation * activation;
            asm volatile("" : "+r"(sum));
        }
    return rounds * kSums;
}

#endif

std::int64_t MultiplyAdd(cpu::Arithmetic arithmetic, std::int64_t rounds) {
    return arithmetic == cpu::Arithmetic::F32 ? MultiplyAddF32(rounds) : MultiplyAddInt8(rounds);
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(MultiplyAdd);

namespace cpu {

std::int64_t multiplyAdd(Arithmetic arithmetic, std::int64_t rounds) {
    return HWY_DYNAMIC_DISPATCH(MultiplyAdd)(arithmetic, rounds);
}

}  // namespace cpu
}  // namespace qllama
#endif
