// From a number to the code that was compiled for it. Included once a target.
#if defined(QLLAMA_CPU_FOR_COUNT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef QLLAMA_CPU_FOR_COUNT_INL_H
#undef QLLAMA_CPU_FOR_COUNT_INL_H
#else
#define QLLAMA_CPU_FOR_COUNT_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

// use(std::integral_constant<int, count>()) for a count of 1 to kMost; nothing for 0.
template <int kMost, typename Use>
HWY_INLINE void ForCount(std::int64_t count, const Use& use) {
    if constexpr (kMost > 0) {
        if (count == kMost)
            use(std::integral_constant<int, kMost>());
        else
            ForCount<kMost - 1>(count, use);
    }
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
