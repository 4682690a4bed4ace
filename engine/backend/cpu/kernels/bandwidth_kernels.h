// Reading memory as fast as the machine can, to know the limit that decode is measured against.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qllama::cpu {

// Sums the 64-bit words of `streams` (1, 2, 4 or 8) equal parts of the buffer, read side by side;
// two and four of them are fetched ahead, one and eight left to the processor.
// sizeBytes is a multiple of streams * 256; data is aligned to 64 bytes.
std::uint64_t readStreams(const std::byte* data, std::int64_t sizeBytes, int streams);

}  // namespace qllama::cpu
