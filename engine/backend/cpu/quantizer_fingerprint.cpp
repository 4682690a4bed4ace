#include "engine/backend/cpu/quantizer_fingerprint.h"

#include <cstddef>
#include <vector>

#include "engine/backend/cpu/kernels/quantize_kernels.h"
#include "engine/common/content_checksum.h"
#include "engine/quant/block_matrix.h"

namespace qllama::cpu {

std::uint64_t quantizerFingerprint(BlockFormat format) {
    constexpr std::int64_t kColumns = 16 * kBlockColumns;
    // Roughly normal values, from a linear congruential generator and the sum of four bytes.
    std::vector<float> panel(static_cast<std::size_t>(kTileRows * kColumns));
    std::uint64_t state = 1;
    for (float& value : panel) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        int sum = -510;
        for (int byte = 4; byte < 8; ++byte)
            sum += static_cast<int>(state >> (8 * byte) & 0xFF);
        value = static_cast<float>(sum) / 8192;
    }
    // A block far below the others of its row is rounded by a rule of its own.
    for (std::size_t column = 0; column < panel.size(); ++column)
        if (column % kColumns < kBlockColumns) panel[column] /= 1024;
    BlockMatrix form;
    form.format = format;
    form.rows = kTileRows;
    form.columns = kColumns;
    std::vector<std::byte> tile(static_cast<std::size_t>(form.tileBytes()));
    std::vector<float> rowFactors(static_cast<std::size_t>(kTileRows));
    quantizeTile(format, panel.data(), kColumns, kColumns, tile.data(),
                 infoOf(format).hasRowFactors ? rowFactors.data() : nullptr);
    // So seldom does a weight come out otherwise without fused products that these may show none.
    const std::uint64_t start = quantizerFusesProducts() ? 1 : 0;
    return contentChecksum(tile, contentChecksum(std::as_bytes(std::span(rowFactors)), start));
}

}  // namespace qllama::cpu
