// Products of row-major weights with many tokens (prefill): blocked, with both sides packed in the
// order in which registers take them, each weight of a column beside those of other rows (Goto and van
// de Geijn, 2008).
//
// Contract: the sums of row_kernels.h in the same order, so that every result has the bits that a token
// alone would have. So a lane of the vectors there is a turn here, over every 16th column with AVX-512.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/backend/cpu/aligned_floats.h"
#include "engine/backend/cpu/kernels/row_kernels.h"

namespace qllama::cpu {

// Fewer tokens than this do not repay the packing, which takes as long as multiplying 15 (f16) to 30 (f32).
inline constexpr std::int64_t kLeastPackedTokens = 40;

// n rows of `columns` activations, in tiles of a few tokens: [tile][lane][vector][token], where a row is
// vectors of lanes. Tokens and columns are padded with zeros to whole tiles and vectors.
struct PackedTokens {
    std::int64_t n = 0;
    std::int64_t columns = 0;
    std::int64_t tiles = 0;
    AlignedFloats values;
};

// Rows that are packed together; portions of other sizes waste time.
std::int64_t panelRows();

// Makes room for n tokens, to be filled by packTile for each of its tiles (which may run on several
// threads). Throws std::bad_alloc.
void resizePackedTokens(PackedTokens& tokens, std::int64_t n, std::int64_t columns);
// x [n, columns]
void packTile(const float* x, std::int64_t tile, PackedTokens& tokens);

// Rows that each of so many threads is to pack at a time for n tokens, a multiple of panelRows(); fewer are
// slower, and more do not stay in the caches.
std::int64_t panelGroupRows(std::int64_t n, std::int64_t columns, int threads);
// Floats of panelRows() rows, packed.
std::int64_t panelFloats(std::int64_t columns);

// Packs rows [begin, end) into a panel for every panelRows() of them, the last one padded with zeros.
// `panels` has panelFloats(columns) for each and is aligned to vectors.
void packPanels(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
                float* panels);

// out[token * outStride + row] (= or +=) row . x[token, :] for all tokens and the `rows` rows in `panels`.
// The bytes of `next`, which may be empty, are fetched from memory meanwhile.
void multiplyPanels(const float* panels, std::int64_t rows, const PackedTokens& tokens,
                    std::span<const std::byte> next, float* out, std::int64_t outStride,
                    bool accumulate);

}  // namespace qllama::cpu
