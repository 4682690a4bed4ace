// Products of quantised tiles (quant/block_format.h) with activations that are rounded to 8 bits, two
// blocks of 32 with one scale.
//
// Contract: y[row] = sum over these pairs, in order, of the activations' scale * the pair's sum, in f32 with
// fused multiply-adds. With q4 the pair's sum is an exact integer that is rounded once, to f32, and the row's factor comes last; with q8
// it is that of the weights' scale * (exact integer sum of the block). So one token alone and the same token
// in a batch, on any number of threads and on every instruction set with FMA, give bit-identical results.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/quant/block_matrix.h"

namespace qllama::cpu {

// n rows of `columns` activations, one for each token: value = scale * q. Columns are padded with zeros to
// whole blocks; tokens are stored `together`, so many as a kernel takes at a time.
struct QuantizedActivations {
    std::int64_t blocks = 0;           // a row
    std::int64_t together = 1;         // tokens
    std::vector<std::int8_t> values;   // q: [n / together][block][group of 4 columns][together][4]
    std::vector<float> scales;         // [n / together][pair][together]
    std::vector<std::int32_t> starts;  // [n / together][block][together]: -128 times the sum of the
                                       // block's q, what q8's weights, raised by 128, take off
    std::vector<std::int32_t>
        nibbleStarts;  // as those, what q4's middle step takes off: -8 times that
                       // sum, as 16 bits
    std::vector<std::int32_t>
        pairSums;  // as scales, what q4's middles are multiplied with: 8 times
                   // that sum of both blocks, 16 bits each

    [[nodiscard]] std::int64_t pairs() const { return (blocks + 1) / 2; }

    // Where what belongs to a pair of blocks lies, a block's starts, and the four values of a group of its
    // columns.
    [[nodiscard]] std::int64_t pairPlace(std::int64_t token, std::int64_t pair) const {
        return (token / together * pairs() + pair) * together + token % together;
    }
    [[nodiscard]] std::int64_t place(std::int64_t token, std::int64_t block) const {
        return (token / together * blocks + block) * together + token % together;
    }
    [[nodiscard]] std::int64_t groupPlace(std::int64_t token, std::int64_t block,
                                          std::int64_t group) const {
        const std::int64_t before =
            (token / together * blocks + block) * (kBlockColumns / kGroupColumns) + group;
        return (before * together + token % together) * kGroupColumns;
    }
};

// Makes room for n rows, to be filled by roundTokens (which may run on several threads).
void resizeActivations(QuantizedActivations& activations, std::int64_t n, std::int64_t columns);

// Rounds the tokens [begin, end) of x [n, columns]; whole tiles of those that are stored together fastest.
// Where a value is no number or infinite, so are all products with its pair of blocks.
void roundTokens(const float* x, std::int64_t columns, std::int64_t begin, std::int64_t end,
                 QuantizedActivations& activations);

// out[token * outStride + row] (= or +=) w[row, :] . x[token, :] for the rows of tiles
// [beginTile, endTile) and all tokens [0, n).
void multiplyTiles(const BlockMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, std::int64_t n, float* out,
                   std::int64_t outStride, bool accumulate);

}  // namespace qllama::cpu
