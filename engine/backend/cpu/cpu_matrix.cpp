#include "engine/backend/cpu/cpu_matrix.h"

#include <algorithm>

namespace qllama::cpu {

namespace {

constexpr std::int64_t kStreamedRows = 8;

// Rows that are unpacked at a time, to be multiplied by n tokens.
std::int64_t rowsTogether(std::int64_t n) {
    constexpr std::int64_t kFew = 4;  // a register tile, in the nearest cache
    return n >= kLeastPackedTokens ? panelRows() : kFew;
}

std::int64_t panelFloats(std::int64_t n, std::int64_t columns) {
    return n >= kLeastPackedTokens ? panelRoomFloats(columns) : 0;
}

}  // namespace

std::int64_t RowMatrix::rowGranularity(std::int64_t n) const {
    return n >= kLeastPackedTokens ? panelRows() : kStreamedRows;
}

std::int64_t RowMatrix::roomFloats(std::int64_t n) const {
    return panelFloats(n, m_weights.columns);
}

void RowMatrix::multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                         bool accumulate) const {
    if (x.n == 1)
        matvecRows(m_weights, begin, end, x.values, out, accumulate);
    else if (x.packed)
        multiplyPanels(m_weights, begin, end, *x.packed, x.room, out, m_weights.rows, accumulate);
    else
        gemmRows(m_weights, begin, end, x.values, x.n, out, m_weights.rows, accumulate);
}

void RowMatrix::readRow(std::int64_t row, float* out) const {
    const std::int64_t rowBytes = m_weights.columns * sizeOf(m_weights.dtype);
    widen(m_weights.dtype, static_cast<const std::byte*>(m_weights.data) + row * rowBytes,
          m_weights.columns, out);
}

std::int64_t PackedMatrix::rowGranularity(std::int64_t n) const {
    return n <= mostTokensPacked() ? kStreamedRows : rowsTogether(n);
}

std::int64_t PackedMatrix::roomFloats(std::int64_t n) const {
    return n <= mostTokensPacked()
               ? 0
               : panelFloats(n, m_weights.columns) + rowsTogether(n) * m_weights.columns;
}

void PackedMatrix::multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                            bool accumulate) const {
    if (x.n <= mostTokensPacked()) {
        multiplyPacked(m_weights, begin, end, x.values, x.n, out, m_weights.rows, accumulate);
        return;
    }
    float* const unpacked = x.room + panelFloats(x.n, m_weights.columns);
    const std::int64_t together = rowsTogether(x.n);
    for (std::int64_t row = begin; row < end; row += together) {
        const std::int64_t count = std::min(together, end - row);
        unpackRows(m_weights, row, row + count, unpacked);
        const RowMajorWeights rows{DType::F32, unpacked, count, m_weights.columns};
        if (x.packed)
            multiplyPanels(rows, 0, count, *x.packed, x.room, out + row, m_weights.rows,
                           accumulate);
        else
            gemmRows(rows, 0, count, x.values, x.n, out + row, m_weights.rows, accumulate);
    }
}

void PackedMatrix::readRow(std::int64_t row, float* out) const {
    unpackRows(m_weights, row, row + 1, out);
}

void TileMatrix::multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                          bool accumulate) const {
    multiplyTiles(m_weights, begin / kTileRows, (end + kTileRows - 1) / kTileRows, *x.quantized,
                  x.n, out, m_weights.rows, accumulate);
}

void TileMatrix::readRow(std::int64_t row, float* out) const {
    m_weights.dequantizeRow(row, {out, static_cast<std::size_t>(m_weights.columns)});
}

}  // namespace qllama::cpu
