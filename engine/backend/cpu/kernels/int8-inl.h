// Sums of products of 8-bit integers, as each x86 instruction set does them best. Included once a
// target; QLLAMA_HAVE_INT8 says whether the target has them (others use plain loops).
#if defined(QLLAMA_CPU_INT8_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_INT8_INL_H
#undef QLLAMA_CPU_INT8_INL_H
#else
#define QLLAMA_CPU_INT8_INL_H
#endif

#include <hwy/highway.h>

#include "engine/backend/cpu/kernels/load-inl.h"

#undef QLLAMA_HAVE_INT8
#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || \
    HWY_TARGET == HWY_SSE4
#define QLLAMA_HAVE_INT8 1
#else
#define QLLAMA_HAVE_INT8 0
#endif

#if QLLAMA_HAVE_INT8
HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3_DL
#pragma GCC target("avx512vnni")  // the target has it, Highway's list of flags for it does not
#endif
namespace qllama::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using ByteTag = hn::ScalableTag<std::uint8_t>;
using Bytes = hn::Vec<ByteTag>;
using WordTag = hn::Repartition<std::int16_t, ByteTag>;
using Words = hn::Vec<WordTag>;
using IntTag = hn::Repartition<std::int32_t, ByteTag>;
using Ints = hn::Vec<IntTag>;
using RowFloatTag = hn::Repartition<float, ByteTag>;
using RowFloats = hn::Vec<RowFloatTag>;

// The same four activations beside every row: one 32-bit broadcast.
HWY_INLINE Bytes BroadcastGroup(const std::int8_t* group) {
    std::int32_t bits;
    std::memcpy(&bits, group, sizeof bits);
    return hn::BitCast(ByteTag(), hn::Set(IntTag(), bits));
}

// The lower and the upper four bits of each byte.
HWY_INLINE Bytes LowHalves(Bytes bytes) {
    return hn::And(bytes, hn::Set(ByteTag(), 15));
}

HWY_INLINE Bytes HighHalves(Bytes bytes) {
#if HWY_TARGET == HWY_AVX3_DL
    // One instruction of GFNI for two (see simd_target.cpp, which has to be asked first): each bit of the result is a chosen bit of the byte, the lower four
    // being the upper four.
    const auto chosen = hn::Set(hn::Repartition<std::uint64_t, ByteTag>(), 0x1020408000000000U);
    Bytes halves;
    asm("vgf2p8affineqb $0, %2, %1, %0" : "=v"(halves.raw) : "v"(bytes.raw), "v"(chosen.raw));
    return halves;
#else
    return LowHalves(hn::BitCast(ByteTag(), hn::ShiftRight<4>(hn::BitCast(WordTag(), bytes))));
#endif
}

// Words [i] = u[2i] * s[2i] + u[2i+1] * s[2i+1], u unsigned, s signed; saturates beyond 16 bits.
HWY_INLINE Words MulPairs(Bytes u, Bytes s) {
#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3
    return Words{_mm512_maddubs_epi16(u.raw, s.raw)};
#elif HWY_TARGET == HWY_AVX2
    return Words{_mm256_maddubs_epi16(u.raw, s.raw)};
#else
    return Words{_mm_maddubs_epi16(u.raw, s.raw)};
#endif
}

// Ints [i] = w[2i] * f[2i] + w[2i+1] * f[2i+1]
HWY_INLINE Ints SumProducts(Words w, Words f) {
#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_AVX3
    return Ints{_mm512_madd_epi16(w.raw, f.raw)};
#elif HWY_TARGET == HWY_AVX2
    return Ints{_mm256_madd_epi16(w.raw, f.raw)};
#else
    return Ints{_mm_madd_epi16(w.raw, f.raw)};
#endif
}

// Ints [i] = w[2i] + w[2i+1]
HWY_INLINE Ints SumPairs(Words w) {
    return SumProducts(w, hn::Set(WordTag(), 1));
}

#if HWY_TARGET == HWY_AVX3_DL
// sum [i] += u[4i] * s[4i] + ... + u[4i+3] * s[4i+3] where the sum is; see AddProduct of
// register_tile-inl.h.
HWY_INLINE void AddFourProducts(Bytes u, Bytes s, Ints& sum) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(u.raw), "v"(s.raw));
}
#endif

// Products of signed weights with signed activations, both within -127 .. 127, where each instruction
// multiplies unsigned by signed. What is made of the weights is made once for many activations.
#if HWY_TARGET == HWY_AVX3_DL

// The weights raised by 128, which is inverting their top bits. A sum starts at what that adds to it.
struct SignedWeights {
    Bytes raised;
};

HWY_INLINE SignedWeights PrepareSigned(Bytes weights) {
    return {hn::Xor(weights, hn::Set(ByteTag(), 128))};
}

// The sum over a block; *start is -128 times the sum of its activations.
struct SignedSum {
    Ints sum;
    HWY_INLINE void start(const std::int32_t* start) { sum = hn::Set(IntTag(), *start); }
    // The products of four weights of each row with four activations.
    HWY_INLINE void add(const SignedWeights& w, Bytes activations) {
        AddFourProducts(w.raised, activations, sum);
    }
    HWY_INLINE Ints total() const { return sum; }
};

#else

// The sizes of the weights are multiplied with the activations that have taken over their signs.
struct SignedWeights {
    Bytes weights;
    Bytes sizes;
};

HWY_INLINE SignedWeights PrepareSigned(Bytes weights) {
#if HWY_TARGET == HWY_AVX3
    return {weights, Bytes{_mm512_abs_epi8(weights.raw)}};
#elif HWY_TARGET == HWY_AVX2
    return {weights, Bytes{_mm256_abs_epi8(weights.raw)}};
#else
    return {weights, Bytes{_mm_abs_epi8(weights.raw)}};
#endif
}

struct SignedSum {
    Ints sum;
    HWY_INLINE void start(const std::int32_t*) { sum = hn::Zero(IntTag()); }
    HWY_INLINE void add(const SignedWeights& w, Bytes activations) {
#if HWY_TARGET == HWY_AVX3
        const auto negative = _mm512_movepi8_mask(w.weights.raw);
        const auto turned = _mm512_mask_sub_epi8(activations.raw, negative, _mm512_setzero_si512(),
                                                 activations.raw);
#elif HWY_TARGET == HWY_AVX2
        const auto turned = _mm256_sign_epi8(activations.raw, w.weights.raw);
#else
        const auto turned = _mm_sign_epi8(activations.raw, w.weights.raw);
#endif
        const Ints products = SumPairs(MulPairs(w.sizes, Bytes{turned}));
#if HWY_TARGET == HWY_AVX2
        // Added where the sum is, which this compiler otherwise copies each time.
        asm("vpaddd %1, %0, %0" : "+x"(sum.raw) : "x"(products.raw));
#else
        sum = hn::Add(sum, products);
        Settle(sum);
#endif
    }
    HWY_INLINE Ints total() const {
        return sum;
    }
};

#endif

// total [i] + w[2i] * f[2i] + w[2i+1] * f[2i+1], signed 16-bit parts of each lane.
HWY_INLINE Ints AddPairProducts(Ints w, Ints f, Ints total) {
#if HWY_TARGET == HWY_AVX3_DL
    asm("vpdpwssd %2, %1, %0" : "+v"(total.raw) : "v"(w.raw), "v"(f.raw));
    return total;
#else
    return hn::Add(total, SumProducts(hn::BitCast(WordTag(), w), hn::BitCast(WordTag(), f)));
#endif
}

// Collects products of unsigned 4-bit weights with signed activations over a block, less what the middle
// step adds. The result fits 16 bits (8 * 32 * 127 at most): VNNI leaves it in the lower half of 32, others
// in two 16-bit parts, which fit as well (the one that starts below 0 like the whole sum, the other eight groups
// of 2 * 15 * 127); on the way there they may go round. *start is -8 times the sum of the activations, as 16 bits.
struct NibbleSum {
#if HWY_TARGET == HWY_AVX3_DL
    Ints sum;
    HWY_INLINE void start(const std::int32_t* start) {
        sum = hn::Set(IntTag(), *start);
    }
    HWY_INLINE void add(Bytes weights, Bytes activations) {
        AddFourProducts(weights, activations, sum);
    }
#else
    Words sum;
    HWY_INLINE void start(const std::int32_t* start) {
        sum = hn::BitCast(WordTag(), hn::Set(IntTag(), *start));
    }
    HWY_INLINE void add(Bytes weights, Bytes activations) {
        sum = hn::Add(sum, MulPairs(weights, activations));
        Settle(sum);
    }
#endif
    // The sum times `scales` of LoadScaleSteps.
    HWY_INLINE Ints scaled(Ints scales) const {
        return SumProducts(hn::BitCast(WordTag(), sum), hn::BitCast(WordTag(), scales));
    }
    HWY_INLINE Ints addScaled(Ints scales, Ints total) const {
        return AddPairProducts(hn::BitCast(IntTag(), sum), scales, total);
    }
};

// Unsigned bytes of one vector's rows, as NibbleSum takes them: 16 bits beside each part of a sum.
HWY_INLINE Ints LoadScaleSteps(const std::byte* source) {
    const hn::Rebind<std::uint8_t, IntTag> bytes;
    const Ints steps =
        hn::PromoteTo(IntTag(), hn::LoadU(bytes, reinterpret_cast<const std::uint8_t*>(source)));
#if HWY_TARGET == HWY_AVX3_DL
    return steps;
#else
    return hn::Or(steps, hn::ShiftLeft<16>(steps));
#endif
}

// Signed bytes of one vector's rows of two blocks, as 16 bits side by side.
HWY_INLINE Ints LoadMiddlePairs(const std::byte* first, const std::byte* second) {
    const hn::Rebind<std::int8_t, IntTag> bytes;
    const auto wide = [bytes](const std::byte* source) HWY_ATTR {
        return hn::PromoteTo(IntTag(),
                             hn::LoadU(bytes, reinterpret_cast<const std::int8_t*>(source)));
    };
    return hn::BitCast(IntTag(),
                       hn::OddEven(hn::BitCast(WordTag(), hn::ShiftLeft<16>(wide(second))),
                                   hn::BitCast(WordTag(), wide(first))));
}

// f16 of one vector's rows, as f32.
HWY_INLINE RowFloats LoadHalves(const std::byte* source) {
    const hn::Rebind<hwy::float16_t, RowFloatTag> halves;
    return hn::PromoteTo(RowFloatTag(),
                         hn::LoadU(halves, reinterpret_cast<const hwy::float16_t*>(source)));
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // QLLAMA_HAVE_INT8

#endif
