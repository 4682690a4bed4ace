#include "engine/quant/packed_bf16.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "engine/tensor/dtype.h"

namespace qllama {
namespace {

constexpr int kMantissaBits = 7;
constexpr int kCodes = 16;
constexpr unsigned kFieldMagnitude = 0x7FF;  // of a field without its sign
constexpr unsigned kMagnitude = 0x7FFF;      // of a bf16

// A factor of this exponent and its inverse are ordinary numbers; weights are nowhere near the ends.
constexpr int kLeastExponent = 16;
constexpr int kLargestExponent = 250;

// The least magnitude, as bits, within sixteen exponents that end with the largest.
unsigned smallestOf(int largestExponent) {
    return static_cast<unsigned>(largestExponent - kCodes + 1) << kMantissaBits;
}

// Four 16-bit lanes.
constexpr std::uint64_t inEachLane(std::uint64_t value) {
    return value * 0x0001000100010001U;
}

std::uint64_t loadFour(const std::uint16_t* bits) {
    std::uint64_t four;
    std::memcpy(&four, bits, sizeof four);
    return four;
}

int largestExponent(std::span<const std::uint16_t> bits) {
    std::int16_t largest = 0;  // signed, which every processor compares in vectors
    for (const std::uint16_t value : bits)
        largest = std::max(largest, static_cast<std::int16_t>(value & kMagnitude));
    return largest >> kMantissaBits;
}

// Weights below the exponent.
std::size_t countBelow(std::span<const std::uint16_t> bits, int exponent) {
    const auto bound = static_cast<std::int16_t>(exponent << kMantissaBits);
    std::uint32_t count = 0;
    for (const std::uint16_t value : bits)
        count += static_cast<std::int16_t>(value & kMagnitude) < bound ? 1 : 0;
    return count;
}

// The largest of the sixteen neighbouring exponents that most weights have.
int mostFrequentExponents(std::span<const std::uint16_t> bits) {
    std::array<std::uint32_t, 256> counts{};
    for (const std::uint16_t value : bits)
        ++counts[(value & kMagnitude) >> kMantissaBits];
    const auto countOf = [&counts](int exponent) {
        return counts[static_cast<std::size_t>(exponent)];
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

// The largest of the sixteen exponents that a row takes: those that end with its own largest one, if few weights
// are below.
int exponentsOf(std::span<const std::uint16_t> bits) {
    const int largest = std::max(largestExponent(bits), kLeastExponent);
    if (largest > kLargestExponent ||
        countBelow(bits, largest - kCodes + 1) >
            static_cast<std::size_t>(exceptionsARow(static_cast<std::int64_t>(bits.size()))))
        return mostFrequentExponents(bits);
    return largest;
}

// Whether the weight divided by the factor of that exponent is exact: kernels add up such quotients.
bool dividesExactly(std::uint16_t bits, int factorExponent) {
    const float weight = bfloat16ToFloat(bits);
    const float factor = std::bit_cast<float>(static_cast<std::uint32_t>(factorExponent) << 23);
    return !std::isfinite(weight) || weight / factor * factor == weight;
}

// Packs `count` weights, four at most.
std::uint64_t packSome(const std::uint16_t* bits, std::int64_t count, int largest,
                       std::int64_t column, PackedRow& packed) {
    const unsigned smallest = smallestOf(largest);
    std::uint64_t four = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        const unsigned value = bits[i];
        const unsigned magnitude = (value & kMagnitude) - smallest;
        if (magnitude > kFieldMagnitude) {
            packed.exceptions.push_back({static_cast<std::uint16_t>(column + i), bits[i]});
            packed.isWhole = packed.isWhole && dividesExactly(bits[i], largest);
        } else {
            four |= std::uint64_t{magnitude | (value >> 4 & 0x800)} << (kBf16FieldBits * i);
        }
    }
    return four;
}

// Four weights that are no exceptions, all at once.
std::optional<std::uint64_t> packFour(std::uint64_t bits, unsigned smallest) {
    constexpr std::uint64_t kHighest = inEachLane(0x8000);
    const std::uint64_t raised = (bits | kHighest) - inEachLane(smallest);
    if ((raised & inEachLane(0xFFFF ^ kFieldMagnitude)) != kHighest) return std::nullopt;
    const std::uint64_t fields =
        (raised & inEachLane(kFieldMagnitude)) | (bits >> 4 & inEachLane(0x800));
    const std::uint64_t pairs =
        (fields & 0x00000FFF00000FFFU) | (fields & 0x0FFF00000FFF0000U) >> 4;
    return (pairs & 0xFFFFFFU) | (pairs >> 8 & 0xFFFFFF000000U);
}

}  // namespace

void packBf16Row(std::span<const std::uint16_t> bits, std::byte* fields, PackedRow& packed) {
    const auto columns = static_cast<std::int64_t>(bits.size());
    const std::int64_t blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    packed.factor = 0;
    if (std::all_of(bits.begin(), bits.end(), [](std::uint16_t value) { return value == 0; })) {
        std::memset(fields, 0, static_cast<std::size_t>(blocks * kBf16BlockBytes));
        return;
    }
    const int largest = exponentsOf(bits);
    packed.factor = std::bit_cast<float>(static_cast<std::uint32_t>(largest) << 23);
    const unsigned smallest = smallestOf(largest);
    for (std::int64_t first = 0; first < blocks * kBlockColumns; first += 4, fields += 6) {
        const std::uint16_t* at = bits.data() + std::min(first, columns);
        const std::int64_t count = std::clamp<std::int64_t>(columns - first, 0, 4);
        const auto whole = count == 4 ? packFour(loadFour(at), smallest) : std::nullopt;
        const std::uint64_t four = whole ? *whole : packSome(at, count, largest, first, packed);
        std::memcpy(fields, &four, 6);
    }
}

std::uint16_t unpackBf16(const std::byte* fields, std::int64_t column, float factor) {
    if (factor == 0) return 0;
    std::uint64_t four = 0;
    std::memcpy(&four, fields + column / 4 * 6, 6);
    const auto field = static_cast<unsigned>(four >> (kBf16FieldBits * (column % 4)) & 0xFFF);
    const unsigned smallest =
        smallestOf(static_cast<int>(std::bit_cast<std::uint32_t>(factor) >> 23));
    return static_cast<std::uint16_t>(((field & kFieldMagnitude) + smallest) | (field & 0x800)
                                                                                   << 4);
}

}  // namespace qllama
