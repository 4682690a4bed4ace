#include "engine/backend/cpu/kernels/quantize_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/tensor/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/quantize_kernels.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/highway.h>

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

void Transpose(const float* panel, std::int64_t stride, std::int64_t column,
               TransposedBlock& block) {
    for (std::int64_t row = 0; row < kTileRows; ++row)
        for (std::int64_t k = 0; k < kBlockColumns; ++k)
            block.values[k][row] = panel[row * stride + column + k];
}

// value = scale * q + minimum with q in 0 .. 15, the best found so far and its squared error.
struct Fit {
    RowVector scale, minimum, error;
};

// Rounds the block with the given scale and minimum, then takes the scale and minimum that are best
// for these q (linear least squares) if their error is lower than that of `best`.
HWY_INLINE void Refine(const TransposedBlock& block, std::int64_t lane, RowVector scale,
                       RowVector minimum, RowVector sumW, RowVector sumWW, Fit& best) {
    const RowTag d;
    const RowVector inverse =
        hn::IfThenElseZero(hn::Gt(scale, hn::Zero(d)), hn::Div(hn::Set(d, 1.0F), scale));
    RowVector sumQ = hn::Zero(d), sumQQ = hn::Zero(d), sumWQ = hn::Zero(d);
    for (std::int64_t k = 0; k < kBlockColumns; ++k) {
        const RowVector w = hn::Load(d, &block.values[k][lane]);
        const RowVector q =
            hn::Min(hn::Max(hn::Round(hn::Mul(hn::Sub(w, minimum), inverse)), hn::Zero(d)),
                    hn::Set(d, 15.0F));
        sumQ = hn::Add(sumQ, q);
        sumQQ = hn::MulAdd(q, q, sumQQ);
        sumWQ = hn::MulAdd(w, q, sumWQ);
    }
    const RowVector count = hn::Set(d, static_cast<float>(kBlockColumns));
    const RowVector determinant = hn::Sub(hn::Mul(count, sumQQ), hn::Mul(sumQ, sumQ));
    const auto solvable = hn::Gt(determinant, hn::Zero(d));
    const RowVector safe = hn::IfThenElse(solvable, determinant, hn::Set(d, 1.0F));
    const RowVector newScale = hn::Div(hn::Sub(hn::Mul(count, sumWQ), hn::Mul(sumQ, sumW)), safe);
    const RowVector newMinimum = hn::Div(hn::Sub(sumW, hn::Mul(newScale, sumQ)), count);
    const RowVector error =
        hn::Sub(hn::Sub(sumWW, hn::Mul(newMinimum, sumW)), hn::Mul(newScale, sumWQ));
    const auto better =
        hn::And(hn::And(solvable, hn::Gt(newScale, hn::Zero(d))), hn::Lt(error, best.error));
    best.scale = hn::IfThenElse(better, newScale, best.scale);
    best.minimum = hn::IfThenElse(better, newMinimum, best.minimum);
    best.error = hn::IfThenElse(better, error, best.error);
}

// Starts from several ranges around the middle of the block's values, the widest being all of them:
// cutting off the largest few often leaves less error in the rest.
HWY_INLINE Fit FitLane(const TransposedBlock& block, std::int64_t lane) {
    constexpr float kRangeShares[] = {1.0F, 0.94F, 0.88F, 0.82F, 0.76F, 0.7F};
    const RowTag d;
    RowVector low = hn::Load(d, &block.values[0][lane]);
    RowVector high = low;
    RowVector sumW = hn::Zero(d), sumWW = hn::Zero(d);
    for (std::int64_t k = 0; k < kBlockColumns; ++k) {
        const RowVector w = hn::Load(d, &block.values[k][lane]);
        low = hn::Min(low, w);
        high = hn::Max(high, w);
        sumW = hn::Add(sumW, w);
        sumWW = hn::MulAdd(w, w, sumWW);
    }
    // A block of equal values is its minimum alone.
    Fit best{hn::Zero(d), hn::Mul(sumW, hn::Set(d, 1.0F / kBlockColumns)), hn::Zero(d)};
    best.error = hn::Sub(sumWW, hn::Mul(best.minimum, sumW));
    const RowVector fullScale = hn::Mul(hn::Sub(high, low), hn::Set(d, 1.0F / 15.0F));
    const RowVector middle = hn::Mul(hn::Add(low, high), hn::Set(d, 0.5F));
    for (const float share : kRangeShares) {
        const RowVector scale = hn::Mul(fullScale, hn::Set(d, share));
        Refine(block, lane, scale, hn::Sub(middle, hn::Mul(scale, hn::Set(d, 7.5F))), sumW, sumWW,
               best);
    }
    Refine(block, lane, best.scale, best.minimum, sumW, sumWW, best);
    Refine(block, lane, best.scale, best.minimum, sumW, sumWW, best);
    return best;
}

// The q of one block for rounded scales and minima, packed as the format says.
void PackNibbles(const TransposedBlock& block, const float* scales, const float* minima,
                 std::byte* groups) {
    const RowTag d;
    const hn::Rebind<std::int32_t, RowTag> ints;
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t lane = 0; lane < kTileRows; lane += lanes) {
        const RowVector scale = hn::LoadU(d, scales + lane);
        const RowVector minimum = hn::LoadU(d, minima + lane);
        const RowVector inverse =
            hn::IfThenElseZero(hn::Gt(scale, hn::Zero(d)), hn::Div(hn::Set(d, 1.0F), scale));
        const auto steps = [&](std::int64_t k) HWY_ATTR {
            const RowVector w = hn::Load(d, &block.values[k][lane]);
            const auto q = hn::ConvertTo(
                ints, hn::Add(hn::Mul(hn::Sub(w, minimum), inverse), hn::Set(d, 0.5F)));
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
    const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    std::vector<float> scales(static_cast<std::size_t>(blocks * kTileRows));
    std::vector<float> minima(scales.size());
    std::vector<TransposedBlock> transposed(static_cast<std::size_t>(blocks));
    float largestScale[kTileRows] = {};
    float largestMinimum[kTileRows] = {};
    for (std::int64_t index = 0; index < blocks; ++index) {
        TransposedBlock& block = transposed[static_cast<std::size_t>(index)];
        Transpose(panel, stride, index * kBlockColumns, block);
        float* blockScales = scales.data() + index * kTileRows;
        float* blockMinima = minima.data() + index * kTileRows;
        for (std::int64_t lane = 0; lane < kTileRows; lane += lanes) {
            const Fit fit = FitLane(block, lane);
            hn::StoreU(fit.scale, d, blockScales + lane);
            hn::StoreU(fit.minimum, d, blockMinima + lane);
        }
        for (std::int64_t row = 0; row < kTileRows; ++row) {
            largestScale[row] = std::max(largestScale[row], blockScales[row]);
            largestMinimum[row] = std::max(largestMinimum[row], std::abs(blockMinima[row]));
        }
    }
    for (std::int64_t row = 0; row < kTileRows; ++row) {
        rowFactors[row * 2] = largestScale[row] / 255.0F;
        rowFactors[row * 2 + 1] = largestMinimum[row] / 127.0F;
    }
    for (std::int64_t index = 0; index < blocks; ++index) {
        std::byte* target = tile + index * infoOf(QuantFormat::Q4).blockBytes;
        float* blockScales = scales.data() + index * kTileRows;
        float* blockMinima = minima.data() + index * kTileRows;
        for (std::int64_t row = 0; row < kTileRows; ++row) {
            const auto steps = [](float value, float factor) {
                return factor > 0 ? std::lround(value / factor) : 0L;
            };
            const long scale = steps(blockScales[row], rowFactors[row * 2]);
            const long minimum = steps(blockMinima[row], rowFactors[row * 2 + 1]);
            target[row] = static_cast<std::byte>(scale);
            target[kTileRows + row] = static_cast<std::byte>(static_cast<std::int8_t>(minimum));
            blockScales[row] = static_cast<float>(scale) * rowFactors[row * 2];
            blockMinima[row] = static_cast<float>(minimum) * rowFactors[row * 2 + 1];
        }
        PackNibbles(transposed[static_cast<std::size_t>(index)], blockScales, blockMinima,
                    target + kTileRows * 2);
    }
}

void QuantizeTileQ8(const float* panel, std::int64_t stride, std::int64_t columns,
                    std::byte* tile) {
    const std::int64_t blocks = (columns + kBlockColumns - 1) / kBlockColumns;
    for (std::int64_t index = 0; index < blocks; ++index) {
        std::byte* target = tile + index * infoOf(QuantFormat::Q8).blockBytes;
        for (std::int64_t row = 0; row < kTileRows; ++row) {
            const float* values = panel + row * stride + index * kBlockColumns;
            float largest = 0;
            for (std::int64_t k = 0; k < kBlockColumns; ++k)
                largest = std::max(largest, std::abs(values[k]));
            const std::uint16_t half = floatToHalf(largest / 127.0F);
            std::memcpy(target + row * 2, &half, sizeof half);
            const float scale = halfToFloat(half);
            const float inverse = scale > 0 ? 1.0F / scale : 0.0F;
            for (std::int64_t k = 0; k < kBlockColumns; ++k) {
                // Half rounding of the scale may push the largest value past 127.
                const float steps = std::clamp(values[k] * inverse, -127.0F, 127.0F);
                const int q = static_cast<int>(steps + (steps < 0 ? -0.5F : 0.5F));
                target[kTileRows * 2 + k / kGroupColumns * kGroupBytes + row * kGroupColumns +
                       k % kGroupColumns] = static_cast<std::byte>(static_cast<std::int8_t>(q));
            }
        }
    }
}

void QuantizeTile(QuantFormat format, const float* panel, std::int64_t stride, std::int64_t columns,
                  std::byte* tile, float* rowFactors) {
    if (format == QuantFormat::Q8)
        QuantizeTileQ8(panel, stride, columns, tile);
    else
        QuantizeTileQ4(panel, stride, columns, tile, rowFactors);
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(QuantizeTile);

namespace cpu {

void quantizeTile(QuantFormat format, const float* panel, std::int64_t stride, std::int64_t columns,
                  std::byte* tile, float* rowFactors) {
    HWY_DYNAMIC_DISPATCH(QuantizeTile)(format, panel, stride, columns, tile, rowFactors);
}

}  // namespace cpu
}  // namespace qllama
#endif
