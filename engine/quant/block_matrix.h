// A quantised or packed matrix in host memory (or in a mapped cache file), in the layout of block_format.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "engine/quant/block_format.h"
#include "engine/quant/packed_rows.h"

namespace qllama {

// Immutable once made; views share the memory: tiles (aligned to 64 bytes), factors, exceptions, one behind
// the other.
struct BlockMatrix {
    BlockFormat format = BlockFormat::Q8;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    const std::byte* tiles = nullptr;   // [tileCount * tileBytes()]: tiles, or rows if packed
    const float* rowFactors = nullptr;  // q4, packed bf16: [tileCount * 16]; else null
    // packed: row r has exceptions [r == 0 ? 0 : exceptionEnds[r - 1], exceptionEnds[r])
    const std::uint32_t* exceptionEnds = nullptr;  // [tileCount * 16]
    const PackedException* exceptions = nullptr;   // room for mostExceptions()
    std::shared_ptr<const void> owner;

    // Whether it has bytes. Weights that cannot be packed have none: they are used as in the file.
    [[nodiscard]] bool isMade() const { return tiles != nullptr; }

    [[nodiscard]] std::int64_t tileCount() const { return (rows + kTileRows - 1) / kTileRows; }
    [[nodiscard]] std::int64_t blocksPerRow() const {
        return (columns + kBlockColumns - 1) / kBlockColumns;
    }
    [[nodiscard]] std::int64_t tileBytes() const {
        const BlockFormatInfo& info = infoOf(format);
        const std::int64_t spared = info.sparedBlock == 0 ? 0 : blocksPerRow() / info.sparedBlock;
        return (blocksPerRow() - spared) * info.blockBytes;
    }
    [[nodiscard]] std::int64_t rowBytes() const { return tileBytes() / kTileRows; }  // if packed
    [[nodiscard]] std::int64_t tilesBytes() const { return tileCount() * tileBytes(); }
    [[nodiscard]] std::int64_t rowFactorsBytes() const {
        return infoOf(format).hasRowFactors ? tileCount() * kTileRows * 4 : 0;
    }
    // Of the parts, from the beginning of the tiles.
    [[nodiscard]] std::int64_t rowFactorsOffset() const { return tilesBytes(); }
    [[nodiscard]] std::int64_t exceptionsOffset() const { return tilesBytes() + rowFactorsBytes(); }
    [[nodiscard]] std::int64_t mostExceptions() const {
        return tileCount() * kTileRows * exceptionsARow(columns);
    }
    [[nodiscard]] std::int64_t exceptionsBytes() const {
        if (!infoOf(format).hasExceptions) return 0;
        return tileCount() * kTileRows * 4 +
               mostExceptions() * std::int64_t{sizeof(PackedException)};
    }
    [[nodiscard]] std::int64_t sizeBytes() const {
        return tilesBytes() + rowFactorsBytes() + exceptionsBytes();
    }

    // The matrix lies at `memory`, sizeBytes() long.
    void placeAt(const std::byte* memory, std::shared_ptr<const void> memoryOwner);

    // Of a packed matrix, once its bytes are there.
    [[nodiscard]] std::span<const PackedException> exceptionsOf(std::int64_t row) const {
        const std::uint32_t begin = row == 0 ? 0 : exceptionEnds[row - 1];
        return {exceptions + begin, exceptionEnds[row] - begin};
    }
    // Whether all exceptions of a packed matrix lie within it.
    [[nodiscard]] bool hasSoundExceptions() const;

    // Row `row` as f32; out has `columns` elements. For embeddings, other layouts, and tests.
    void dequantizeRow(std::int64_t row, std::span<float> out) const;
};

}  // namespace qllama
