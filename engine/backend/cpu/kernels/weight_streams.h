// How a token's weights are best read from memory, which is a matter of the processor, not of its instructions.
#pragma once

#include <cstdint>

namespace qllama::cpu {

// How far ahead along its stream memory is fetched, in bytes. Both are fetched, even where they are the same.
struct FetchDistances {
    std::int64_t far;   // into all caches but the first
    std::int64_t near;  // into all caches
};

struct WeightStreams {
    FetchDistances rows;
    FetchDistances tiles;  // quantised
    int tilesTogether;     // that one token goes through side by side, each in its own part
};

// Of this processor; kernels read it in their inner loops.
extern const WeightStreams weightStreams;

}  // namespace qllama::cpu
