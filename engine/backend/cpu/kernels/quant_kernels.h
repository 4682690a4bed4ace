// Products of quantised tiles (quant/quant_format.h) with activations that are rounded to 8 bits in
// blocks of 32.
//
// Contract: y[row] = sum over blocks, in order, of scales * (exact integer sum of the block), in f32
// with fused multiply-adds, so one token alone and the same token in a batch, on any number of
// threads and on every instruction set with FMA, give bit-identical results.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/quant/quantized_matrix.h"

namespace qllama::cpu {

// n rows of `columns` activations, one for each token: value = scale * q. Columns are padded with zeros to
// whole blocks; tokens are stored `together`, so many as a kernel takes at a time.
struct QuantizedActivations {
    std::int64_t blocks = 0;           // a row
    std::int64_t together = 1;         // tokens
    std::vector<std::int8_t> values;   // q: [n / together][block][group of 4 columns][together][4]
    std::vector<float> scales;         // [n / together][block][together], as those below
    std::vector<float> scaledSums;     // scale times the sum of the block's q
    std::vector<std::int32_t> starts;  // -128 times that sum, what raised weights take off

    // Where a block's scale and sums lie, and where the four values of a group of its columns.
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
// Where a value is no number or infinite, so are all products with its block.
void roundTokens(const float* x, std::int64_t columns, std::int64_t begin, std::int64_t end,
                 QuantizedActivations& activations);

// out[token * outStride + row] (= or +=) w[row, :] . x[token, :] for the rows of tiles
// [beginTile, endTile) and all tokens [0, n).
void multiplyTiles(const QuantizedMatrix& weights, std::int64_t beginTile, std::int64_t endTile,
                   const QuantizedActivations& activations, std::int64_t n, float* out,
                   std::int64_t outStride, bool accumulate);

}  // namespace qllama::cpu
