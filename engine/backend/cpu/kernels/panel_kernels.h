// Products of row-major weights with many tokens (prefill): blocked, with both sides packed in the
// order in which registers take them (Goto and van de Geijn, 2008).
//
// Contract: the sums of row_kernels.h in the same order, so that every result has the bits that a token
// alone would have.
#pragma once

#include <hwy/aligned_allocator.h>

#include <cstdint>

#include "engine/backend/cpu/kernels/row_kernels.h"

namespace qllama::cpu {

// Fewer tokens than this do not repay the packing.
inline constexpr std::int64_t kLeastPackedTokens = 10;

// n rows of `columns` activations, in tiles of a few tokens: [block of columns][tile][vector of the
// block][token][lane]. Tokens and columns are padded with zeros to whole tiles and vectors.
struct PackedTokens {
    std::int64_t n = 0;
    std::int64_t columns = 0;
    std::int64_t tiles = 0;
    std::int64_t capacity = 0;  // floats
    hwy::AlignedFreeUniquePtr<float[]> values;
};

// Whether weights of this type are multiplied faster this way than as they lie.
bool panelsRepay(DType dtype);

// Makes room for n tokens, to be filled by packTile for each of its tiles (which may run on several
// threads). Throws std::bad_alloc.
void resizePackedTokens(PackedTokens& tokens, std::int64_t n, std::int64_t columns);
// x [n, columns]
void packTile(const float* x, std::int64_t tile, PackedTokens& tokens);

// out[token * outStride + row] (= or +=) w[row, :] . x[token, :] for row in [begin, end) and all tokens.
void multiplyPanels(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
                    const PackedTokens& tokens, float* out, std::int64_t outStride,
                    bool accumulate);

}  // namespace qllama::cpu
