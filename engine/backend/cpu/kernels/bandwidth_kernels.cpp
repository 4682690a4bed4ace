#include "engine/backend/cpu/kernels/bandwidth_kernels.h"

#include <numeric>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/bandwidth_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

// Each stream is fetched so many bytes ahead of being read.
template <int kStreams, std::int64_t kAhead>
std::uint64_t ReadStreamsOf(const std::byte* data, std::int64_t sizeBytes) {
    const hn::ScalableTag<std::uint64_t> d;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t words = sizeBytes / kStreams / 8;
    const auto* source = reinterpret_cast<const std::uint64_t*>(data);
    hn::Vec<decltype(d)> sums[kStreams];
    for (auto& sum : sums)
        sum = hn::Zero(d);
    for (std::int64_t i = 0; i < words; i += kLineBytes / 8)
        for (int s = 0; s < kStreams; ++s) {
            const std::uint64_t* line = source + s * words + i;
            if constexpr (kAhead != 0) FetchLines<kLineBytes>(line + kAhead / 8);
            for (std::int64_t lane = 0; lane < kLineBytes / 8; lane += lanes)
                sums[s] = hn::Add(sums[s], hn::Load(d, line + lane));
        }
    for (int s = 1; s < kStreams; ++s)
        sums[0] = hn::Add(sums[0], sums[s]);
    // Unsigned words, which may overflow: GCC's own sum of AVX-512 lanes is one of signed words.
    HWY_ALIGN std::uint64_t each[hn::MaxLanes(d)];
    hn::Store(sums[0], d, each);
    return std::accumulate(each, each + lanes, std::uint64_t{0});
}

std::uint64_t ReadStreams(const std::byte* data, std::int64_t sizeBytes, int streams) {
    switch (streams) {
        case 8:
            return ReadStreamsOf<8, 0>(data, sizeBytes);
        case 4:
            return ReadStreamsOf<4, 1024>(data, sizeBytes);
        case 2:
            return ReadStreamsOf<2, 2048>(data, sizeBytes);
        default:
            return ReadStreamsOf<1, 0>(data, sizeBytes);
    }
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(ReadStreams);

namespace cpu {

std::uint64_t readStreams(const std::byte* data, std::int64_t sizeBytes, int streams) {
    return HWY_DYNAMIC_DISPATCH(ReadStreams)(data, sizeBytes, streams);
}

}  // namespace cpu
}  // namespace qllama
#endif
