// Tells one version of the quantiser from another by what it does.
#pragma once

#include <cstdint>

#include "engine/quant/block_format.h"

namespace qllama::cpu {

// A checksum of what a fixed matrix becomes. Kept weights carry it, so that those of another
// version of the rounding are not taken for today's, without anybody counting versions. May differ
// between instruction sets where these round differently.
std::uint64_t quantizerFingerprint(BlockFormat format);

}  // namespace qllama::cpu
