#include "engine/backend/cpu/cpu_matrix.h"

#include <algorithm>

namespace qllama::cpu {

namespace {

constexpr std::int64_t kStreamedRows = 8;

constexpr std::int64_t kFewRows = 4;  // a register tile, in the nearest cache

std::int64_t panelRoomFloats(std::int64_t n, std::int64_t columns, int threads) {
    return panelGroupRows(n, columns, threads) / panelRows() * panelFloats(columns);
}

// Calls use(first, last) for groups of rows in [begin, end), of about equal size and of whole panels.
template <typename Use>
void forPanelGroups(std::int64_t begin, std::int64_t end, std::int64_t groupRows, const Use& use) {
    const std::int64_t groups = (end - begin + groupRows - 1) / groupRows;
    const std::int64_t panels = (end - begin + panelRows() - 1) / panelRows();
    for (std::int64_t group = 0; group < groups; ++group)
        use(begin + panels * group / groups * panelRows(),
            std::min(end, begin + panels * (group + 1) / groups * panelRows()));
}

}  // namespace

std::int64_t RowMatrix::rowGranularity(std::int64_t n) const {
    return n >= kLeastPackedTokens ? panelRows() : kStreamedRows;
}

std::int64_t RowMatrix::roomFloats(std::int64_t n, int threads) const {
    return n >= kLeastPackedTokens ? panelRoomFloats(n, m_weights.columns, threads) : 0;
}

std::span<const std::byte> RowMatrix::bytesOf(std::int64_t begin, std::int64_t end) const {
    const std::int64_t rowBytes = m_weights.columns * sizeOf(m_weights.dtype);
    return {static_cast<const std::byte*>(m_weights.data) + begin * rowBytes,
            static_cast<std::size_t>((end - begin) * rowBytes)};
}

void RowMatrix::multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                         bool accumulate) const {
    if (x.n == 1)
        matvecRows(m_weights, begin, end, x.values, out, accumulate);
    else if (x.packed)
        forPanelGroups(begin, end, panelGroupRows(x.n, columns(), x.threads),
                       [&](std::int64_t first, std::int64_t last) {
                           packPanels(m_weights, first, last, x.room);
                           // A panel more than here may be in the next group.
                           const std::int64_t nextLast =
                               std::min(end, last + (last - first) + panelRows());
                           multiplyPanels(x.room, last - first, *x.packed, bytesOf(last, nextLast),
                                          out + first, m_weights.rows, accumulate);
                       });
    else
        gemmRows(m_weights, begin, end, x.values, x.n, out, m_weights.rows, accumulate);
}

void RowMatrix::readRow(std::int64_t row, float* out) const {
    widen(m_weights.dtype, bytesOf(row, row + 1).data(), m_weights.columns, out);
}

std::int64_t PackedMatrix::rowGranularity(std::int64_t n) const {
    if (n <= mostTokensPacked()) return kStreamedRows;
    return n >= kLeastPackedTokens ? panelRows() : kFewRows;
}

std::int64_t PackedMatrix::roomFloats(std::int64_t n, int threads) const {
    if (n <= mostTokensPacked()) return 0;
    if (n < kLeastPackedTokens) return kFewRows * columns();
    return panelRoomFloats(n, columns(), threads) + panelRows() * columns();
}

void PackedMatrix::multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                            bool accumulate) const {
    if (x.n <= mostTokensPacked())
        multiplyPacked(m_weights, begin, end, x.values, x.n, out, m_weights.rows, accumulate);
    else if (x.packed)
        multiplyManyTokens(begin, end, x, out, accumulate);
    else
        for (std::int64_t row = begin; row < end; row += kFewRows) {
            const RowMajorWeights rows = unpack(row, std::min(row + kFewRows, end), x.room);
            gemmRows(rows, 0, rows.rows, x.values, x.n, out + row, m_weights.rows, accumulate);
        }
}

void PackedMatrix::multiplyManyTokens(std::int64_t begin, std::int64_t end, const Activations& x,
                                      float* out, bool accumulate) const {
    float* const unpacked = x.room + panelRoomFloats(x.n, columns(), x.threads);
    forPanelGroups(begin, end, panelGroupRows(x.n, columns(), x.threads),
                   [&](std::int64_t first, std::int64_t last) {
                       float* panel = x.room;
                       for (std::int64_t row = first; row < last; row += panelRows()) {
                           const RowMajorWeights rows =
                               unpack(row, std::min(row + panelRows(), last), unpacked);
                           packPanels(rows, 0, rows.rows, panel);
                           panel += panelFloats(columns());
                       }
                       multiplyPanels(x.room, last - first, *x.packed, {}, out + first,
                                      m_weights.rows, accumulate);
                   });
}

RowMajorWeights PackedMatrix::unpack(std::int64_t begin, std::int64_t end, float* room) const {
    unpackRows(m_weights, begin, end, room);
    return {DType::F32, room, end - begin, columns()};
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
