#include "engine/quant/packed_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>

namespace qllama {
namespace {

constexpr int kMantissaBits = 7;
constexpr int kCodes = 16;
constexpr unsigned kFieldMagnitude = 0x7FF;  // of a field without its sign
constexpr unsigned kMagnitude = 0x7FFF;      // of a bf16
constexpr int kExponents = 256;

// A factor of this exponent and its inverse are ordinary numbers; weights are nowhere near the ends.
constexpr int kLeastExponent = 16;
constexpr int kLargestExponent = 250;

// The largest of the sixteen neighbouring exponents that most weights have.
int mostFrequentExponents(std::span<const std::uint16_t> bits) {
    // Neighbours are counted in different places, not to wait for each other.
    std::array<std::array<std::uint32_t, kExponents>, 4> counts{};
    for (std::size_t i = 0; i < bits.size(); ++i)
        ++counts[i % counts.size()][(bits[i] & kMagnitude) >> kMantissaBits];
    const auto countOf = [&counts](int exponent) {
        std::uint32_t count = 0;
        for (const auto& part : counts)
            count += part[static_cast<std::size_t>(exponent)];
        return count;
    };
    std::uint32_t inside = 0;
    for (int exponent = kLargestExponent - kCodes + 1; exponent <= kLargestExponent; ++exponent)
        inside += countOf(exponent);
    std::uint32_t most = inside;
    int best = kLargestExponent;
    for (int largest = kLargestExponent - 1; largest >= kLeastExponent; --largest) {
        inside += countOf(largest - kCodes + 1);
        inside -= countOf(largest + 1);
        if (inside <= most) continue;
        most = inside;
        best = largest;
    }
    return best;
}

unsigned fieldOf(unsigned bits, unsigned smallest) {
    return ((bits & kMagnitude) - smallest) | (bits >> 4 & 0x800);
}

}  // namespace

void packRow(std::span<const std::uint16_t> bits, std::byte* fields, PackedRow& packed) {
    assert(static_cast<std::int64_t>(bits.size()) <= kMostPackedColumns);
    const auto columns = static_cast<std::int64_t>(bits.size());
    const std::int64_t blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    packed.exceptions.clear();
    if (std::all_of(bits.begin(), bits.end(), [](std::uint16_t value) { return value == 0; })) {
        packed.factor = 0;
        std::memset(fields, 0, static_cast<std::size_t>(blocks * kPackedBlockBytes));
        return;
    }
    const int largest = mostFrequentExponents(bits);
    packed.factor = std::bit_cast<float>(static_cast<std::uint32_t>(largest) << 23);
    const unsigned smallest = static_cast<unsigned>(largest - kCodes + 1) << kMantissaBits;
    for (std::int64_t first = 0; first < blocks * kBlockColumns; first += 4, fields += 6) {
        std::uint64_t four = 0;
        for (std::int64_t column = first; column < std::min(first + 4, columns); ++column) {
            const std::uint16_t value = bits[static_cast<std::size_t>(column)];
            if ((value & kMagnitude) - smallest > kFieldMagnitude)
                packed.exceptions.push_back({static_cast<std::uint16_t>(column), value});
            else
                four |= std::uint64_t{fieldOf(value, smallest)} << (kPackedBits * (column - first));
        }
        std::memcpy(fields, &four, 6);
    }
}

std::uint16_t unpackField(const std::byte* fields, std::int64_t column, float factor) {
    if (factor == 0) return 0;
    std::uint64_t four = 0;
    std::memcpy(&four, fields + column / 4 * 6, 6);
    const auto field = static_cast<unsigned>(four >> (kPackedBits * (column % 4)) & 0xFFF);
    const unsigned largest = std::bit_cast<std::uint32_t>(factor) >> 23;
    const unsigned smallest = (largest - kCodes + 1) << kMantissaBits;
    return static_cast<std::uint16_t>(((field & kFieldMagnitude) + smallest) | (field & 0x800)
                                                                                   << 4);
}

}  // namespace qllama
