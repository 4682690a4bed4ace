// A 64-bit checksum that keeps up with memory, to notice damage and to tell contents apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace qllama {

// Depends on every byte, on their order and number, and on the seed; the same on every machine with
// little-endian numbers. Two contents have the same one with a probability of about 2^-64, unless
// somebody went looking for them.
[[nodiscard]] std::uint64_t contentChecksum(std::span<const std::byte> bytes,
                                            std::uint64_t seed = 0);

}  // namespace qllama
