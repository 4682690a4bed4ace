// The formats in which matrices are made anew and kept: rows in blocks of 32 columns, laid out for our kernels.
// The next one is one row in the table of block_format.cpp, one case in block_matrix.cpp and one pair of
// kernels. Two of them are quantised; the others, packed_rows.h, lose nothing.
//
// The quantised ones divide a matrix into tiles of 16 rows and these into blocks of 32 columns. The bytes
// of a block hold four neighbouring columns of row 0, then of row 1, ... row 15: a vector register
// meets one broadcast of four 8-bit activations and needs no sums across lanes.
//
//   q8, 544 bytes:  16 f16 scales, then 8 groups of 16 x 4 signed bytes
//                   w = scale * q, q in -127 .. 127                                   8.5 bits/weight
//   q4, 288 bytes:  16 unsigned bytes of scale, 16 signed bytes of middle, then 4 groups of 16 x 4
//                   bytes: the low half is column 4g + c, the high half column 16 + 4g + c
//                   w = rowFactor * (scale * (q - 8) + 8 * middle), q in 0 .. 15      4.5 bits/weight
//
// q4's row factors are an f32 a row: what it multiplies are integers, and products with 8-bit activations
// of one scale are summed exactly. Missing rows and columns of the last tile and block are zero.
//
// Activations are rounded to 8 bits before they meet these weights, two blocks of them with one scale.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace qllama {

enum class BlockFormat : std::uint8_t { Q8, Q4, PackedBf16, PackedF16 };

// To be raised when the bytes of a format come to mean something else: kept weights are then made
// again.
constexpr std::uint64_t kBlockLayoutVersion = 2;

constexpr std::int64_t kTileRows = 16;
constexpr std::int64_t kBlockColumns = 32;
constexpr std::int64_t kGroupColumns = 4;
constexpr std::int64_t kGroupBytes = kTileRows * kGroupColumns;
constexpr std::int64_t kRoundedColumns = 2 * kBlockColumns;  // of activations with one scale
constexpr int kMiddleStep =
    8;  // q4: the q of the middle, and the steps of scale in one of the middle's

struct BlockFormatInfo {
    BlockFormat format;
    std::string_view key;      // as the precision's
    std::int64_t blockBytes;   // of 16 rows and 32 columns
    std::int64_t sparedBlock;  // one of so many takes no bytes; 0: none
    bool hasRowFactors;
    bool hasExceptions;  // packed_rows.h
};

std::span<const BlockFormatInfo> quantizedFormats();  // those that lose something
const BlockFormatInfo& infoOf(BlockFormat format);
// The format of that number, as kept in a file.
std::optional<BlockFormat> formatFromNumber(std::uint64_t number);

}  // namespace qllama
