// A quantised matrix in host memory (or in a mapped cache file), in the layout of quant_format.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/quant/quant_format.h"

namespace qllama {

// Immutable once made; views share the memory. `tiles` is aligned to 64 bytes.
struct QuantizedMatrix {
    QuantFormat format = QuantFormat::Q8;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    const std::byte* tiles = nullptr;   // [tileCount][blocksPerRow] blocks
    const float* rowFactors = nullptr;  // q4: [tileCount * 16]; else null
    std::shared_ptr<const void> owner;

    [[nodiscard]] std::int64_t tileCount() const { return (rows + kTileRows - 1) / kTileRows; }
    [[nodiscard]] std::int64_t blocksPerRow() const {
        return (columns + kBlockColumns - 1) / kBlockColumns;
    }
    [[nodiscard]] std::int64_t tileBytes() const {
        return blocksPerRow() * infoOf(format).blockBytes;
    }
    [[nodiscard]] std::int64_t tilesBytes() const { return tileCount() * tileBytes(); }
    [[nodiscard]] std::int64_t rowFactorsBytes() const {
        return infoOf(format).hasRowFactors ? tileCount() * kTileRows * 4 : 0;
    }
    [[nodiscard]] std::int64_t sizeBytes() const { return tilesBytes() + rowFactorsBytes(); }

    // Row `row` as f32; out has `columns` elements. For embeddings, other layouts, and tests.
    void dequantizeRow(std::int64_t row, std::span<float> out) const;
};

}  // namespace qllama
