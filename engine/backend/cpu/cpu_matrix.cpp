#include "engine/backend/cpu/cpu_matrix.h"

namespace qllama::cpu {

std::int64_t RowMatrix::rowGranularity(std::int64_t n) const {
    constexpr std::int64_t kStreams = 8;
    return n >= kLeastPackedTokens ? panelRows() : kStreams;
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

void TileMatrix::multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                          bool accumulate) const {
    multiplyTiles(m_weights, begin / kTileRows, (end + kTileRows - 1) / kTileRows, *x.quantized,
                  x.n, out, m_weights.rows, accumulate);
}

void TileMatrix::readRow(std::int64_t row, float* out) const {
    m_weights.dequantizeRow(row, {out, static_cast<std::size_t>(m_weights.columns)});
}

}  // namespace qllama::cpu
