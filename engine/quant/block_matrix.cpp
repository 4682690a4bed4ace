#include "engine/quant/block_matrix.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "engine/tensor/dtype.h"

namespace qllama {
namespace {

std::int64_t groupOffset(std::int64_t lane, std::int64_t column) {
    return column / kGroupColumns * kGroupBytes + lane * kGroupColumns + column % kGroupColumns;
}

float dequantizeQ8(const std::byte* block, std::int64_t lane, std::int64_t column) {
    std::uint16_t scale;
    std::memcpy(&scale, block + lane * 2, sizeof scale);
    const auto value = static_cast<std::int8_t>(block[kTileRows * 2 + groupOffset(lane, column)]);
    return halfToFloat(scale) * static_cast<float>(value);
}

float dequantizeQ4(const std::byte* block, std::int64_t lane, std::int64_t column, float factor) {
    const auto scale = std::to_integer<int>(block[lane]);
    const int middle = static_cast<std::int8_t>(block[kTileRows + lane]);
    const std::byte pair = block[kTileRows * 2 + groupOffset(lane, column % (kBlockColumns / 2))];
    const int value =
        std::to_integer<int>(column < kBlockColumns / 2 ? pair & std::byte{15} : pair >> 4);
    return factor * static_cast<float>(scale * (value - kMiddleStep) + kMiddleStep * middle);
}

void unpackRow(const BlockMatrix& matrix, std::int64_t row, std::span<float> out) {
    const auto toFloat = matrix.format == BlockFormat::PackedBf16 ? bfloat16ToFloat : halfToFloat;
    const std::byte* begin = matrix.tiles + row * matrix.rowBytes();
    const float factor = matrix.rowFactors == nullptr ? 1.0F : matrix.rowFactors[row];
    for (std::int64_t column = 0; column < matrix.columns; ++column)
        out[static_cast<std::size_t>(column)] =
            toFloat(unpackWeight(matrix.format, begin, column, factor));
    for (const PackedException& exception : matrix.exceptionsOf(row))
        out[exception.column] = toFloat(exception.bits);
}

}  // namespace

void BlockMatrix::placeAt(const std::byte* memory, std::shared_ptr<const void> memoryOwner) {
    tiles = memory;
    owner = std::move(memoryOwner);
    if (infoOf(format).hasRowFactors)
        rowFactors = reinterpret_cast<const float*>(tiles + rowFactorsOffset());
    if (!infoOf(format).hasExceptions) return;
    exceptionEnds = reinterpret_cast<const std::uint32_t*>(tiles + exceptionsOffset());
    exceptions = reinterpret_cast<const PackedException*>(exceptionEnds + tileCount() * kTileRows);
}

bool BlockMatrix::hasSoundExceptions() const {
    const std::int64_t rowCount = tileCount() * kTileRows;
    if (exceptionEnds[rowCount - 1] > mostExceptions()) return false;
    for (std::int64_t row = 1; row < rowCount; ++row)
        if (exceptionEnds[row] < exceptionEnds[row - 1]) return false;
    const std::span all(exceptions, exceptionEnds[rowCount - 1]);
    return std::all_of(all.begin(), all.end(), [this](const PackedException& exception) {
        return exception.column < columns;
    });
}

void BlockMatrix::dequantizeRow(std::int64_t row, std::span<float> out) const {
    assert(row >= 0 && row < rows && static_cast<std::int64_t>(out.size()) == columns);
    if (infoOf(format).hasExceptions) {
        unpackRow(*this, row, out);
        return;
    }
    const std::int64_t lane = row % kTileRows;
    const std::byte* tile = tiles + row / kTileRows * tileBytes();
    for (std::int64_t column = 0; column < columns; ++column) {
        const std::byte* block = tile + column / kBlockColumns * infoOf(format).blockBytes;
        const std::int64_t inBlock = column % kBlockColumns;
        out[static_cast<std::size_t>(column)] =
            format == BlockFormat::Q8 ? dequantizeQ8(block, lane, inBlock)
                                      : dequantizeQ4(block, lane, inBlock, rowFactors[row]);
    }
}

}  // namespace qllama
