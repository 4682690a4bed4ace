// A tile of sums that stay in registers while products are added to them. Included once a target.
#if defined(QLLAMA_CPU_REGISTER_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_REGISTER_TILE_INL_H
#undef QLLAMA_CPU_REGISTER_TILE_INL_H
#else
#define QLLAMA_CPU_REGISTER_TILE_INL_H
#endif

#include <cstdint>
#include <utility>

#include "engine/backend/cpu/kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

// sum += a * b where the sum is. A tile takes every register that AVX2 has and nearly all of AVX-512's, and
// left to itself this compiler moves the sums about until some of them wait for memory in each turn of
// the loop.
template <typename Vector>
HWY_INLINE void AddProduct(const Vector& a, const Vector& b, Vector& sum) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
#else
    sum = hn::MulAdd(a, b, sum);
#endif
}

// kHeld * kPassing sums of products, counted through at compile time alone: else this compiler keeps
// them in memory as well. The sums, kHeld vectors and one more are to fit the registers.
template <typename Tag, int kHeld, int kPassing>
class RegisterTile {
public:
    using Vector = hn::Vec<Tag>;

    HWY_INLINE void clear() { clear(kSums); }
    // sums [kHeld][kPassing], aligned vectors without gaps
    HWY_INLINE void store(float* sums) const { store(sums, kSums); }
    HWY_INLINE void addStored(const float* sums) { addStored(sums, kSums); }
    // sum [h][p] += held(h) * passing(p)
    template <typename Held, typename Passing>
    HWY_INLINE void add(const Held& held, const Passing& passing) {
        add(held, passing, std::make_integer_sequence<int, kHeld>(), kSums);
    }
    // use(h, p, sum [h][p])
    template <typename Use>
    HWY_INLINE void forEach(const Use& use) const {
        forEach(use, kSums);
    }

private:
    static constexpr std::make_integer_sequence<int, kHeld * kPassing> kSums{};

    HWY_INLINE static std::int64_t offset(int sum) {
        return sum * static_cast<std::int64_t>(hn::Lanes(Tag()));
    }
    template <int... kSum>
    HWY_INLINE void clear(std::integer_sequence<int, kSum...>) {
        ((m_sums[kSum] = hn::Zero(Tag())), ...);
    }
    template <int... kSum>
    HWY_INLINE void store(float* sums, std::integer_sequence<int, kSum...>) const {
        (hn::Store(m_sums[kSum], Tag(), sums + offset(kSum)), ...);
    }
    template <int... kSum>
    HWY_INLINE void addStored(const float* sums, std::integer_sequence<int, kSum...>) {
        ((m_sums[kSum] = hn::Add(hn::Load(Tag(), sums + offset(kSum)), m_sums[kSum])), ...);
    }
    template <typename Held, typename Passing, int... kH, int... kStep>
    HWY_INLINE void add(const Held& held, const Passing& passing, std::integer_sequence<int, kH...>,
                        std::integer_sequence<int, kStep...>) {
        Vector vectors[] = {held(kH)...};
        (Settle(vectors[kH]), ...);
        Vector passed;
        ((passed = kStep % kHeld == 0 ? passing(kStep / kHeld) : passed,
          AddProduct(passed, vectors[kStep % kHeld],
                     m_sums[kStep % kHeld * kPassing + kStep / kHeld])),
         ...);
    }
    template <typename Use, int... kSum>
    HWY_INLINE void forEach(const Use& use, std::integer_sequence<int, kSum...>) const {
        (use(kSum / kPassing, kSum % kPassing, m_sums[kSum]), ...);
    }

    Vector m_sums[kHeld * kPassing];
};

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
