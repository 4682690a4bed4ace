// Rounds weights to the formats of quant/block_format.h, a tile of 16 rows at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/quant/block_format.h"

namespace qllama::cpu {

// panel: [16][stride] f32, zero in missing rows and from `columns` up to the next whole block.
// tile: blocks of the format, one after the other; rowFactors: [16] for formats that have them.
// Scales and middles minimise the squared error of each block (see quantize_kernels.cpp). A row with a
// value that is infinite or no number comes out as no numbers.
void quantizeTile(BlockFormat format, const float* panel, std::int64_t stride, std::int64_t columns,
                  std::byte* tile, float* rowFactors);

// Whether products and sums are rounded once, together: then some weights come out otherwise.
bool quantizerFusesProducts();

}  // namespace qllama::cpu
