#include "engine/common/content_checksum.h"

#include <array>
#include <cstring>

namespace qllama {
namespace {

constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15U;  // 2^64 divided by the golden ratio
constexpr std::size_t kLanes = 8;                    // enough to hide the multiplication's latency
constexpr std::size_t kBlockBytes = kLanes * sizeof(std::uint64_t);

// All 128 bits of the product, folded: every bit of the word reaches half of the lane, so that what
// comes later is unlikely to cancel it. (A plain product moves the highest bit nowhere: two changed
// bits in neighbouring words could hide each other.)
std::uint64_t mixed(std::uint64_t lane, std::uint64_t word) {
    const auto product = static_cast<unsigned __int128>(lane ^ word) * kOdd;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t wordAt(const std::byte* bytes) {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

std::uint64_t spread(std::uint64_t bits) {
    bits = (bits ^ (bits >> 32)) * kOdd;
    return bits ^ (bits >> 29);
}

}  // namespace

std::uint64_t contentChecksum(std::span<const std::byte> bytes, std::uint64_t seed) {
    std::array<std::uint64_t, kLanes> lanes;
    for (std::size_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] = spread(seed + lane + 1);
    const std::uint64_t length = bytes.size();
    for (; bytes.size() >= kBlockBytes; bytes = bytes.subspan(kBlockBytes)) {
#pragma GCC unroll 8  // keeps the lanes in registers
        for (std::size_t lane = 0; lane < kLanes; ++lane)
            lanes[lane] = mixed(lanes[lane], wordAt(bytes.data() + lane * sizeof(std::uint64_t)));
    }
    std::array<std::uint64_t, kLanes> words{};
    if (!bytes.empty()) std::memcpy(words.data(), bytes.data(), bytes.size());
    std::uint64_t sum = spread(length);
    for (std::size_t lane = 0; lane < kLanes; ++lane)
        sum = spread(mixed(sum, mixed(lanes[lane], words[lane])));
    return sum;
}

}  // namespace qllama
