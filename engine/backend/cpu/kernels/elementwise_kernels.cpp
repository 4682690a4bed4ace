#include "engine/backend/cpu/kernels/elementwise_kernels.h"

#include <cmath>
#include <cstddef>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/elementwise_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/load-inl.h"

#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

void RmsNormRow(const float* x, const float* gain, float epsilon, std::int64_t width, float* out) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    const auto count = static_cast<std::size_t>(width);
    const std::size_t whole = count / lanes * lanes;
    F32Vector squares = hn::Zero(d);
    for (std::size_t i = 0; i < whole; i += lanes) {
        const F32Vector value = hn::LoadU(d, x + i);
        squares = hn::MulAdd(value, value, squares);
    }
    if (whole != count) {
        const F32Vector value = LoadTailAsF32(d, x + whole, count - whole);
        squares = hn::MulAdd(value, value, squares);
    }
    const float mean = hn::GetLane(hn::SumOfLanes(d, squares)) / static_cast<float>(width);
    const float scale = 1.0F / std::sqrt(mean + epsilon);
    const F32Vector scales = hn::Set(d, scale);
    for (std::size_t i = 0; i < whole; i += lanes)
        hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), scales), hn::LoadU(d, gain + i)), d,
                   out + i);
    for (std::size_t i = whole; i < count; ++i)
        out[i] = x[i] * scale * gain[i];
}

HWY_INLINE F32Vector SiluTimes(F32Tag d, F32Vector gate, F32Vector up) {
    // Exp is only defined up to about 104; exp(88) already makes the quotient vanish.
    const F32Vector one = hn::Set(d, 1.0F);
    const F32Vector exponent = hn::Min(hn::Neg(gate), hn::Set(d, 88.0F));
    return hn::Mul(hn::Div(gate, hn::Add(one, hn::Exp(d, exponent))), up);
}

void SwigluRow(float* gate, const float* up, std::int64_t width) {
    const F32Tag d;
    const std::size_t lanes = hn::Lanes(d);
    const auto count = static_cast<std::size_t>(width);
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes)
        hn::StoreU(SiluTimes(d, hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, gate + i);
    if (i != count) {
        HWY_ALIGN float tail[hn::MaxLanes(F32Tag())];
        hn::Store(SiluTimes(d, LoadTailAsF32(d, gate + i, count - i),
                            LoadTailAsF32(d, up + i, count - i)),
                  d, tail);
        std::memcpy(gate + i, tail, (count - i) * sizeof(float));
    }
}

#if HWY_TARGET != HWY_SCALAR  // where a vector has no room for a pair
// (real * cosine - imaginary * sine, real * sine + imaginary * cosine), pairs of them.
HWY_INLINE F32Vector RotatePairs(F32Vector pairs, F32Vector rotation) {
    const F32Tag d;
    const F32Vector straight = hn::Mul(pairs, hn::DupEven(rotation));
    const F32Vector crossed = hn::Mul(hn::Reverse2(d, pairs), hn::DupOdd(rotation));
    return hn::OddEven(hn::Add(straight, crossed), hn::Sub(straight, crossed));
}
#endif

HWY_INLINE void RopeHead(float* pairs, const float* rotation, std::int64_t headDim) {
    std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
    const F32Tag d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (; i + lanes <= headDim; i += lanes)
        hn::StoreU(RotatePairs(hn::LoadU(d, pairs + i), hn::LoadU(d, rotation + i)), d, pairs + i);
#endif
    for (; i < headDim; i += 2) {
        const float cosine = rotation[i];
        const float sine = rotation[i + 1];
        const float real = pairs[i];
        const float imaginary = pairs[i + 1];
        pairs[i] = real * cosine - imaginary * sine;
        pairs[i + 1] = real * sine + imaginary * cosine;
    }
}

void RopeRow(float* row, const float* rotation, std::int64_t heads, std::int64_t headDim) {
    for (std::int64_t head = 0; head < heads; ++head)
        RopeHead(row + head * headDim, rotation, headDim);
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(RmsNormRow);
HWY_EXPORT(SwigluRow);
HWY_EXPORT(RopeRow);

namespace cpu {

void rmsNormRow(const float* x, const float* gain, float epsilon, std::int64_t width, float* out) {
    HWY_DYNAMIC_DISPATCH(RmsNormRow)(x, gain, epsilon, width, out);
}

void swigluRow(float* gate, const float* up, std::int64_t width) {
    HWY_DYNAMIC_DISPATCH(SwigluRow)(gate, up, width);
}

void ropeRow(float* row, const float* rotation, std::int64_t heads, std::int64_t headDim) {
    HWY_DYNAMIC_DISPATCH(RopeRow)(row, rotation, heads, headDim);
}

}  // namespace cpu
}  // namespace qllama
#endif
