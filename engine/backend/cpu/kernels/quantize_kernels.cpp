#include "engine/backend/cpu/kernels/quantize_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "engine/tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/quantize_kernels.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include "engine/backend/cpu/kernels/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The 16 rows of a tile side by side in the lanes: every row has its own block and no sum crosses
// lanes.
using RowTag = hn::CappedTag<float, kTileRows>;
using RowVector = hn::Vec<RowTag>;

// One block of 32 columns with the rows in lanes: [column][row].
struct TransposedBlock {
    HWY_ALIGN float values[kBlockColumns][kTileRows];
};

void ReadBlock(const float* panel, std::int64_t stride, std::int64_t column,
               TransposedBlock& block) {
    const F32Tag d;
    for (std::int64_t row = 0; row < kTileRows; row += kLanes)
        for (std::int64_t k = 0; k < kBlockColumns; k += kLanes) {
            F32Vector square[kLanes];
#pragma GCC unroll 16
            for (int i = 0; i < kLanes; ++i)
                square[i] = hn::LoadU(d, panel + (row + i) * stride + column + k);
            Transpose(square);
#pragma GCC unroll 16
            for (int i = 0; i < kLanes; ++i)
                hn::Store(square[i], d, &block.values[k + i][row]);
        }
}

// Vectors of rows that are fitted side by side: the sums of one alone would wait for each other.
constexpr int kFitVectors = hn::MaxLanes(RowTag()) == kTileRows ? 1 : 2;

// value = scale * q + minimum with q in 0 .. 15, the best found so far and its squared error.
struct Fit {
    RowVector scale[kFitVectors], minimum[kFitVectors], error[kFitVectors];
};

// Of the values of each row and their squares.
struct BlockSums {
    RowVector w[kFitVectors], ww[kFitVectors];
};

HWY_INLINE RowVector LoadRows(const TransposedBlock& block, std::int64_t column, std::int64_t row,
                              int vector) {
    const RowTag d;
    return hn::Load(d,
                    &block.values[column][row + vector * static_cast<std::int64_t>(hn::Lanes(d))]);
}

// Rounds the block with the given scale and minimum, then takes the scale and minimum that are best
// for these q (linear least squares) if their error is lower than that of `best`.
HWY_INLINE void Refine(const TransposedBlock& block, std::int64_t row, const RowVector* scale,
                       const RowVector* minimum, const BlockSums& sums, Fit& best) {
    const RowTag d;
    const RowVector zero = hn::Zero(d);
    const RowVector most = hn::Set(d, 15.0F);
    RowVector inverse[kFitVectors], start[kFitVectors];
    RowVector sumQ[kFitVectors], sumQQ[kFitVectors], sumWQ[kFitVectors];
    for (int v = 0; v < kFitVectors; ++v) {
        inverse[v] =
            hn::IfThenElseZero(hn::Gt(scale[v], zero), hn::Div(hn::Set(d, 1.0F), scale[v]));
        start[v] = hn::Mul(minimum[v], inverse[v]);
        sumQ[v] = sumQQ[v] = sumWQ[v] = zero;
    }
    for (std::int64_t k = 0; k < kBlockColumns; ++k)
        for (int v = 0; v < kFitVectors; ++v) {
            const RowVector w = LoadRows(block, k, row, v);
            const RowVector q =
                hn::Round(hn::Min(hn::Max(hn::MulSub(w, inverse[v], start[v]), zero), most));
            sumQ[v] = hn::Add(sumQ[v], q);
            sumQQ[v] = hn::MulAdd(q, q, sumQQ[v]);
            sumWQ[v] = hn::MulAdd(w, q, sumWQ[v]);
        }
    const RowVector count = hn::Set(d, static_cast<float>(kBlockColumns));
    for (int v = 0; v < kFitVectors; ++v) {
        const RowVector determinant = hn::Sub(hn::Mul(count, sumQQ[v]), hn::Mul(sumQ[v], sumQ[v]));
        const auto solvable = hn::Gt(determinant, zero);
        const RowVector safe = hn::IfThenElse(solvable, determinant, hn::Set(d, 1.0F));
        const RowVector newScale =
            hn::Div(hn::Sub(hn::Mul(count, sumWQ[v]), hn::Mul(sumQ[v], sums.w[v])), safe);
        const RowVector newMinimum = hn::Div(hn::Sub(sums.w[v], hn::Mul(newScale, sumQ[v])), count);
        const RowVector error = hn::Sub(hn::Sub(sums.ww[v], hn::Mul(newMinimum, sums.w[v])),
                                        hn::Mul(newScale, sumWQ[v]));
        const auto better =
            hn::And(hn::And(solvable, hn::Gt(newScale, zero)), hn::Lt(error, best.error[v]));
        best.scale[v] = hn::IfThenElse(better, newScale, best.scale[v]);
        best.minimum[v] = hn::IfThenElse(better, newMinimum, best.minimum[v]);
        best.error[v] = hn::IfThenElse(better, error, best.error[v]);
    }
}

// Starts from several ranges around the middle of the block's values, the widest being all of them:
// cutting off the largest few often leaves less error in the rest.
HWY_INLINE Fit FitRows(const TransposedBlock& block, std::int64_t row) {
    constexpr float kRangeShares[] = {1.0F, 0.94F, 0.88F, 0.82F, 0.76F, 0.7F};
    const RowTag d;
    BlockSums sums;
    Fit best;
    RowVector fullScale[kFitVectors], middle[kFitVectors];
    for (int v = 0; v < kFitVectors; ++v) {
        RowVector low = LoadRows(block, 0, row, v);
        RowVector high = low;
        sums.w[v] = sums.ww[v] = hn::Zero(d);
        for (std::int64_t k = 0; k < kBlockColumns; ++k) {
            const RowVector w = LoadRows(block, k, row, v);
            low = hn::Min(low, w);
            high = hn::Max(high, w);
            sums.w[v] = hn::Add(sums.w[v], w);
            sums.ww[v] = hn::MulAdd(w, w, sums.ww[v]);
        }
        // A block of equal values is its minimum alone.
        best.scale[v] = hn::Zero(d);
        best.minimum[v] = hn::Mul(sums.w[v], hn::Set(d, 1.0F / kBlockColumns));
        best.error[v] = hn::Sub(sums.ww[v], hn::Mul(best.minimum[v], sums.w[v]));
        fullScale[v] = hn::Mul(hn::Sub(high, low), hn::Set(d, 1.0F / 15.0F));
        middle[v] = hn::Mul(hn::Add(low, high), hn::Set(d, 0.5F));
    }
    for (const float share : kRangeShares) {
        RowVector scale[kFitVectors], minimum[kFitVectors];
        for (int v = 0; v < kFitVectors; ++v) {
            scale[v] = hn::Mul(fullScale[v], hn::Set(d, share));
            minimum[v] = hn::Sub(middle[v], hn::Mul(scale[v], hn::Set(d, 7.5F)));
        }
        Refine(block, row, scale, minimum, sums, best);
    }
    for (int again = 0; again < 2; ++again) {
        const Fit found = best;
        Refine(block, row, found.scale, found.minimum, sums, best);
    }
    return best;
}

// The values of a block's 16 rows become whole steps of the factors, which are at least 0; writes how
// many.
void RoundToSteps(const float* factors, float* values, std::byte* steps) {
    const RowTag d;
    const hn::Rebind<std::int32_t, RowTag> ints;
    HWY_ALIGN std::int32_t counts[kTileRows];
    for (std::int64_t row = 0; row < kTileRows; row += static_cast<std::int64_t>(hn::Lanes(d))) {
        const RowVector factor = hn::LoadU(d, factors + row);
        const RowVector exact = hn::IfThenElseZero(hn::Gt(factor, hn::Zero(d)),
                                                   hn::Div(hn::LoadU(d, values + row), factor));
        const auto count =
            hn::ConvertTo(ints, hn::Add(exact, hn::CopySign(hn::Set(d, 0.5F), exact)));
        hn::Store(count, ints, counts + row);
        hn::StoreU(hn::Mul(hn::ConvertTo(d, count), factor), d, values + row);
    }
    for (std::int64_t row = 0; row < kTileRows; ++row)
        steps[row] = static_cast<std::byte>(counts[row]);
}

// The q of one block for rounded scales and middles, packed as the format says.
void PackNibbles(const TransposedBlock& block, const float* scales, const float* middles,
                 std::byte* groups) {
    const RowTag d;
    const hn::Rebind<std::int32_t, RowTag> ints;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t lane = 0; lane < kTileRows; lane += lanes) {
        const RowVector scale = hn::LoadU(d, scales + lane);
        const RowVector middle = hn::LoadU(d, middles + lane);
        const RowVector inverse =
            hn::IfThenElseZero(hn::Gt(scale, hn::Zero(d)), hn::Div(hn::Set(d, 1.0F), scale));
        const auto steps = [&](std::int64_t k) HWY_ATTR {
            const RowVector w = hn::Load(d, &block.values[k][lane]);
            const auto q = hn::ConvertTo(ints, hn::Add(hn::Mul(hn::Sub(w, middle), inverse),
                                                       hn::Set(d, kMiddleStep + 0.5F)));
            return hn::Min(hn::Max(q, hn::Zero(ints)), hn::Set(ints, 15));
        };
        const auto pair = [&](std::int64_t k) HWY_ATTR {
            return hn::Or(steps(k), hn::ShiftLeft<4>(steps(k + kBlockColumns / 2)));
        };
        // Four columns of a row are the four bytes of one 32-bit lane.
        for (std::int64_t k = 0; k < kBlockColumns / 2; k += kGroupColumns) {
            const auto bytes =
                hn::Or(hn::Or(pair(k), hn::ShiftLeft<8>(pair(k + 1))),
                       hn::Or(hn::ShiftLeft<16>(pair(k + 2)), hn::ShiftLeft<24>(pair(k + 3))));
            hn::StoreU(bytes, ints,
                       reinterpret_cast<std::int32_t*>(groups + k / kGroupColumns * kGroupBytes +
                                                       lane * kGroupColumns));
        }
    }
}

void QuantizeTileQ4(const float* panel, std::int64_t stride, std::int64_t columns, std::byte* tile,
                    float* rowFactors) {
    const RowTag d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    std::vector<float> scales(static_cast<std::size_t>(blocks * kTileRows));
    std::vector<float> middles(scales.size());
    const auto transposed =
        std::make_unique_for_overwrite<TransposedBlock[]>(static_cast<std::size_t>(blocks));
    std::fill_n(rowFactors, kTileRows, 0.0F);
    for (std::int64_t index = 0; index < blocks; ++index) {
        TransposedBlock& block = transposed[static_cast<std::size_t>(index)];
        ReadBlock(panel, stride, index * kBlockColumns, block);
        float* blockScales = scales.data() + index * kTileRows;
        float* blockMiddles = middles.data() + index * kTileRows;
        for (std::int64_t row = 0; row < kTileRows; row += kFitVectors * lanes) {
            const Fit fit = FitRows(block, row);
            for (int v = 0; v < kFitVectors; ++v) {
                hn::StoreU(fit.scale[v], d, blockScales + row + v * lanes);
                const RowVector middle =
                    hn::MulAdd(fit.scale[v], hn::Set(d, kMiddleStep), fit.minimum[v]);
                hn::StoreU(middle, d, blockMiddles + row + v * lanes);
            }
        }
        // As small as 255 steps of scale and 127 of the middle allow.
        for (std::int64_t row = 0; row < kTileRows; ++row)
            rowFactors[row] = std::max({rowFactors[row], blockScales[row] / 255.0F,
                                        std::abs(blockMiddles[row]) / (127.0F * kMiddleStep)});
    }
    float middleFactors[kTileRows];
    for (std::int64_t row = 0; row < kTileRows; ++row)
        middleFactors[row] = rowFactors[row] * kMiddleStep;
    for (std::int64_t index = 0; index < blocks; ++index) {
        std::byte* target = tile + index * infoOf(BlockFormat::Q4).blockBytes;
        float* blockScales = scales.data() + index * kTileRows;
        float* blockMiddles = middles.data() + index * kTileRows;
        // A block far below the others of its row is left with one step, not with its middle alone.
        for (std::int64_t row = 0; row < kTileRows; ++row)
            if (blockScales[row] > 0)
                blockScales[row] = std::max(blockScales[row], rowFactors[row]);
        RoundToSteps(rowFactors, blockScales, target);
        RoundToSteps(middleFactors, blockMiddles, target + kTileRows);
        PackNibbles(transposed[static_cast<std::size_t>(index)], blockScales, blockMiddles,
                    target + kTileRows * 2);
    }
}

// The largest size in each row of a block.
void LargestOfRows(const TransposedBlock& block, float* largest) {
    const RowTag d;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t lane = 0; lane < kTileRows; lane += lanes) {
        RowVector sizes = hn::Zero(d);
        for (std::int64_t k = 0; k < kBlockColumns; ++k)
            sizes = hn::Max(sizes, hn::Abs(hn::Load(d, &block.values[k][lane])));
        hn::StoreU(sizes, d, largest + lane);
    }
}

// The q of one block, w times the inverse of the scale to the nearest integer.
void PackBytes(const TransposedBlock& block, const float* inverses, std::byte* groups) {
    const RowTag d;
    const hn::Rebind<std::int32_t, RowTag> ints;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    // A scale that was rounded to f16 may push the largest value past 127.
    const RowVector most = hn::Set(d, 127.0F);
    for (std::int64_t lane = 0; lane < kTileRows; lane += lanes) {
        const RowVector inverse = hn::LoadU(d, inverses + lane);
        const auto byte = [&](std::int64_t k) HWY_ATTR {
            const RowVector steps =
                hn::Max(hn::Min(hn::Mul(hn::Load(d, &block.values[k][lane]), inverse), most),
                        hn::Neg(most));
            const auto q =
                hn::ConvertTo(ints, hn::Add(steps, hn::CopySign(hn::Set(d, 0.5F), steps)));
            return hn::And(q, hn::Set(ints, 255));
        };
        for (std::int64_t k = 0; k < kBlockColumns; k += kGroupColumns) {
            const auto bytes =
                hn::Or(hn::Or(byte(k), hn::ShiftLeft<8>(byte(k + 1))),
                       hn::Or(hn::ShiftLeft<16>(byte(k + 2)), hn::ShiftLeft<24>(byte(k + 3))));
            hn::StoreU(bytes, ints,
                       reinterpret_cast<std::int32_t*>(groups + k / kGroupColumns * kGroupBytes +
                                                       lane * kGroupColumns));
        }
    }
}

void QuantizeTileQ8(const float* panel, std::int64_t stride, std::int64_t columns,
                    std::byte* tile) {
    const std::int64_t blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    for (std::int64_t index = 0; index < blocks; ++index) {
        std::byte* target = tile + index * infoOf(BlockFormat::Q8).blockBytes;
        TransposedBlock block;
        ReadBlock(panel, stride, index * kBlockColumns, block);
        float largest[kTileRows];
        float inverses[kTileRows];
        LargestOfRows(block, largest);
        for (std::int64_t row = 0; row < kTileRows; ++row) {
            const std::uint16_t half = floatToHalf(largest[row] / 127.0F);
            std::memcpy(target + row * 2, &half, sizeof half);
            const float scale = halfToFloat(half);
            inverses[row] = scale > 0 ? 1.0F / scale : 0.0F;
        }
        PackBytes(block, inverses, target + kTileRows * 2);
    }
}

// Whether all values are numbers and finite: only those times 0 are 0.
bool AreFinite(const float* values, std::int64_t columns) {
    const hn::CappedTag<float, kBlockColumns> d;
    auto sum = hn::Zero(d);
    for (std::int64_t k = 0; k < columns; k += static_cast<std::int64_t>(hn::Lanes(d)))
        sum = hn::MulAdd(hn::LoadU(d, values + k), hn::Zero(d), sum);
    return hn::GetLane(hn::SumOfLanes(d, sum)) == 0;
}

// A row that no steps can stand for gets a scale that is no number, so that neither is what is made of it.
void SpoilRow(BlockFormat format, std::int64_t row, std::byte* tile, float* rowFactors) {
    constexpr float kNoNumber = std::numeric_limits<float>::quiet_NaN();
    const std::uint16_t half = floatToHalf(kNoNumber);
    if (format == BlockFormat::Q8)
        std::memcpy(tile + row * 2, &half, sizeof half);
    else
        rowFactors[row] = kNoNumber;
}

void QuantizeTile(BlockFormat format, const float* panel, std::int64_t stride, std::int64_t columns,
                  std::byte* tile, float* rowFactors) {
    if (format == BlockFormat::Q8)
        QuantizeTileQ8(panel, stride, columns, tile);
    else
        QuantizeTileQ4(panel, stride, columns, tile, rowFactors);
    for (std::int64_t row = 0; row < kTileRows; ++row)
        if (!AreFinite(panel + row * stride, columns)) SpoilRow(format, row, tile, rowFactors);
}

bool FusesProducts() {
    return HWY_NATIVE_FMA != 0;
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(QuantizeTile);
HWY_EXPORT(FusesProducts);

namespace cpu {

void quantizeTile(BlockFormat format, const float* panel, std::int64_t stride, std::int64_t columns,
                  std::byte* tile, float* rowFactors) {
    HWY_DYNAMIC_DISPATCH(QuantizeTile)(format, panel, stride, columns, tile, rowFactors);
}

bool quantizerFusesProducts() {
    return HWY_DYNAMIC_DISPATCH(FusesProducts)();
}

}  // namespace cpu
}  // namespace qllama
#endif
