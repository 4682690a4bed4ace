#include "engine/backend/cpu/kernels/panel_kernels.h"

#include <hwy/cache_control.h>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <new>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/panel_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/register_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

using cpu::PackedTokens;
using cpu::RowMajorWeights;

// A register tile: 4 rows by 3 tokens are 12 sums and fit 16 registers, 24 fit 32.
constexpr std::int64_t kTileTokens = HWY_TARGET <= HWY_AVX3 ? 6 : 3;
constexpr std::int64_t kTileRows = 4;
constexpr std::int64_t kTileSums = kTileTokens * kTileRows;

// A panel of weights, widened once, stays in the L1 cache while a block of tokens passes by; of that
// block, so many columns stay in the L2 cache while the panels of a group take their turns, beside the
// sums of all of them, which is larger where there is AVX-512.
constexpr std::int64_t kPanelRows = 8;
constexpr std::int64_t kPanelColumns = 512;
constexpr std::int64_t kGroupRows = HWY_TARGET <= HWY_AVX3 ? 64 : 32;
constexpr std::int64_t kBlockTiles = 132 / kTileTokens;

HWY_INLINE std::int64_t Lanes() {
    return static_cast<std::int64_t>(hn::Lanes(F32Tag()));
}

HWY_INLINE std::int64_t VectorsOf(std::int64_t columns) {
    return (columns + Lanes() - 1) / Lanes();
}

// What a thread works with: the panel [tile of rows][vector][row][lane], and the sums of a group and a
// block of tokens, which wait there from one block of columns to the next.
struct PanelSpace {
    static constexpr std::size_t kMaxLanes = hn::MaxLanes(F32Tag());
    HWY_ALIGN float weights[kPanelRows * kPanelColumns];
    HWY_ALIGN float sums[kGroupRows / kTileRows * kBlockTiles * kTileSums * kMaxLanes];
};

// Columns [first, first + count) of a matrix.
struct ColumnBlock {
    std::int64_t first, count, all;
    [[nodiscard]] bool isFirst() const { return first == 0; }
    [[nodiscard]] bool isLast() const { return first + count == all; }
};

// The vectors of `count` elements, `stride` vectors apart.
template <typename T>
HWY_INLINE void Spread(const T* HWY_RESTRICT source, std::int64_t count, std::int64_t stride,
                       float* HWY_RESTRICT out) {
    const F32Tag d;
    std::int64_t k = 0;
    for (; k + Lanes() <= count; k += Lanes(), out += stride * Lanes())
        hn::Store(LoadAsF32(d, source + k), d, out);
    if (k != count)
        hn::Store(LoadTailAsF32(d, source + k, static_cast<std::size_t>(count - k)), d, out);
}

void PackTile(const float* x, std::int64_t tile, PackedTokens& tokens) {
    float* out = tokens.values.get();
    for (std::int64_t first = 0; first < tokens.columns; first += kPanelColumns) {
        const std::int64_t count = std::min(kPanelColumns, tokens.columns - first);
        const std::int64_t tileFloats = VectorsOf(count) * kTileTokens * Lanes();
        float* target = out + tile * tileFloats;
        for (std::int64_t t = 0; t < kTileTokens; ++t) {
            const std::int64_t token = tile * kTileTokens + t;
            if (token < tokens.n)
                Spread(x + token * tokens.columns + first, count, kTileTokens,
                       target + t * Lanes());
            else
                for (std::int64_t v = 0; v < VectorsOf(count); ++v)
                    hn::Store(hn::Zero(F32Tag()), F32Tag(),
                              target + (v * kTileTokens + t) * Lanes());
        }
        out += tokens.tiles * tileFloats;
    }
}

// Rows [row, row + kTileRows) of the matrix, those from `end` on zero.
template <typename T>
HWY_INLINE void PackRows(const RowMajorWeights& w, std::int64_t row, std::int64_t end,
                         const ColumnBlock& block, float* out) {
    for (std::int64_t r = 0; r < kTileRows; ++r) {
        if (row + r < end)
            Spread(static_cast<const T*>(w.data) + (row + r) * w.columns + block.first, block.count,
                   kTileRows, out + r * Lanes());
        else
            for (std::int64_t v = 0; v < VectorsOf(block.count); ++v)
                hn::Store(hn::Zero(F32Tag()), F32Tag(), out + (v * kTileRows + r) * Lanes());
    }
}

using TileOfSums = RegisterTile<F32Tag, kTileTokens, kTileRows>;  // [token][row]

HWY_INLINE void AddVector(const float* weights, const float* x, std::int64_t v, TileOfSums& sums) {
    const F32Tag d;
    sums.add([&](int t) HWY_ATTR { return hn::Load(d, x + (v * kTileTokens + t) * Lanes()); },
             [&](int r) HWY_ATTR { return hn::Load(d, weights + (v * kTileRows + r) * Lanes()); });
}

// One register tile over a block of columns; its sums start from and end in `kept`. Four vectors in a
// turn of the loop, whose own instructions are then few beside theirs.
HWY_INLINE void MultiplyTile(const float* weights, const float* x, const ColumnBlock& block,
                             float* kept, float* totals) {
    const std::int64_t vectors = VectorsOf(block.count);
    TileOfSums tile;
    if (block.isFirst())
        tile.clear();
    else
        tile.load(kept);
    std::int64_t v = 0;
    for (; v + 4 <= vectors; v += 4) {
        AddVector(weights, x, v, tile);
        AddVector(weights, x, v + 1, tile);
        AddVector(weights, x, v + 2, tile);
        AddVector(weights, x, v + 3, tile);
    }
    asm("" : "+r"(v));  // nothing of the last vectors is to be fetched in the loop above
    for (; v < vectors; ++v)
        AddVector(weights, x, v, tile);
    tile.store(kept);
    if (!block.isLast()) return;
    F32Vector sums[kTileSums];
    for (std::int64_t i = 0; i < kTileSums; ++i)
        sums[i] = hn::Load(F32Tag(), kept + i * Lanes());
    SumLanes<kTileSums>(F32Tag(), sums, totals);
}

// What a panel is multiplied with: the tiles [first, end) of the tokens, a block at most.
struct TokenBlock {
    const PackedTokens& tokens;
    std::int64_t first, end;
};

struct Target {
    float* out;  // [token * stride + row]
    std::int64_t stride;
    bool accumulate;
};

// The totals [token][row] of a register tile, or of as much of one as the matrices have.
HWY_INLINE void PutTotals(const float* totals, std::int64_t token, std::int64_t tokenCount,
                          std::int64_t row, std::int64_t rowCount, const Target& target) {
    const hn::CappedTag<float, kTileRows> d;
    float* out = target.out + token * target.stride + row;
    for (std::int64_t t = 0; t < std::min(kTileTokens, tokenCount); ++t, out += target.stride) {
        const float* sums = totals + t * kTileRows;
        if (rowCount >= kTileRows)
            for (std::int64_t r = 0; r < kTileRows; r += static_cast<std::int64_t>(hn::Lanes(d))) {
                const auto sum = hn::LoadU(d, sums + r);
                hn::StoreU(target.accumulate ? hn::Add(hn::LoadU(d, out + r), sum) : sum, d,
                           out + r);
            }
        else
            for (std::int64_t r = 0; r < rowCount; ++r)
                out[r] = target.accumulate ? out[r] + sums[r] : sums[r];
    }
}

// A part of the weights: rows [begin, end), a panel at most, of a block of columns.
template <typename T>
struct WeightPart {
    const RowMajorWeights& w;
    ColumnBlock columns;
    std::int64_t begin, end;

    // Cache line `line` of every row, which memory is to bring.
    HWY_INLINE void Prefetch(std::int64_t line) const {
        constexpr std::int64_t kLineElements = std::int64_t{64} / sizeof(T);
        if (line * kLineElements >= columns.count) return;
        for (std::int64_t row = begin; row < end; ++row)
            hwy::Prefetch(static_cast<const T*>(w.data) + row * w.columns + columns.first +
                          line * kLineElements);
    }
};

// Widens a part into the panel and multiplies it; x is the part's columns of all tokens, `kept` the
// panel's sums. Meanwhile the first lines of the next part are on their way.
template <typename T>
HWY_INLINE void MultiplyPanel(const WeightPart<T>& part, const WeightPart<T>& next, const float* x,
                              const TokenBlock& block, float* panel, float* kept,
                              const Target& target) {
    const std::int64_t vectors = VectorsOf(part.columns.count);
    for (std::int64_t row = part.begin; row < part.end; row += kTileRows)
        PackRows<T>(part.w, row, part.end, part.columns,
                    panel + (row - part.begin) * vectors * Lanes());
    for (std::int64_t tile = block.first; tile < block.end; ++tile) {
        next.Prefetch(tile - block.first);
        const std::int64_t token = tile * kTileTokens;
        for (std::int64_t row = part.begin; row < part.end; row += kTileRows) {
            float totals[kTileSums];
            MultiplyTile(panel + (row - part.begin) * vectors * Lanes(),
                         x + tile * vectors * kTileTokens * Lanes(), part.columns, kept, totals);
            kept += kTileSums * Lanes();
            if (part.columns.isLast())
                PutTotals(totals, token, block.tokens.n - token, row, part.end - row, target);
        }
    }
}

// Rows [begin, end), a group at most.
template <typename T>
void MultiplyGroup(const RowMajorWeights& w, std::int64_t begin, std::int64_t end,
                   const TokenBlock& block, const Target& target, PanelSpace& space) {
    const float* x = block.tokens.values.get();
    const auto columnsFrom = [&w](std::int64_t first) {
        return ColumnBlock{first, std::min(kPanelColumns, w.columns - first), w.columns};
    };
    const auto rowsFrom = [&](const ColumnBlock& columns, std::int64_t row) {
        return WeightPart<T>{w, columns, row, std::min(row + kPanelRows, end)};
    };
    for (std::int64_t first = 0; first < w.columns; first += kPanelColumns) {
        const ColumnBlock columns = columnsFrom(first);
        for (std::int64_t row = begin; row < end; row += kPanelRows) {
            const bool isLast = row + kPanelRows >= end;
            MultiplyPanel(
                rowsFrom(columns, row),
                isLast ? rowsFrom(columnsFrom(first + columns.count), begin)
                       : rowsFrom(columns, row + kPanelRows),
                x, block, space.weights,
                space.sums + (row - begin) / kTileRows * kBlockTiles * kTileSums * Lanes(), target);
        }
        x += block.tokens.tiles * VectorsOf(columns.count) * kTileTokens * Lanes();
    }
}

template <typename T>
void MultiplyTyped(const RowMajorWeights& w, std::int64_t begin, std::int64_t end,
                   const PackedTokens& tokens, const Target& target) {
    PanelSpace space;
    for (std::int64_t tile = 0; tile < tokens.tiles; tile += kBlockTiles)
        for (std::int64_t row = begin; row < end; row += kGroupRows)
            MultiplyGroup<T>(w, row, std::min(row + kGroupRows, end),
                             {tokens, tile, std::min(tile + kBlockTiles, tokens.tiles)}, target,
                             space);
}

void MultiplyPanels(const RowMajorWeights& w, std::int64_t begin, std::int64_t end,
                    const PackedTokens& tokens, float* out, std::int64_t outStride,
                    bool accumulate) {
    const Target target{out, outStride, accumulate};
    switch (w.dtype) {
        case DType::F32:
            return MultiplyTyped<float>(w, begin, end, tokens, target);
        case DType::F16:
            return MultiplyTyped<hwy::float16_t>(w, begin, end, tokens, target);
        case DType::BF16:
            return MultiplyTyped<hwy::bfloat16_t>(w, begin, end, tokens, target);
        default:
            assert(false);
    }
}

// f16, which one instruction widens, is as fast as it lies with AVX2, where packing measured 13 % slower.
// AVX-512's port for shuffles widens half as fast as the others multiply: packing is 32 % faster.
bool PanelsRepay(DType dtype) {
    return dtype != DType::F16 || HWY_TARGET <= HWY_AVX3;
}

void ResizePackedTokens(PackedTokens& tokens, std::int64_t n, std::int64_t columns) {
    tokens.n = n;
    tokens.columns = columns;
    tokens.tiles = (n + kTileTokens - 1) / kTileTokens;
    // Whole blocks of columns are whole vectors, so that only the last one is padded.
    const std::int64_t floats = tokens.tiles * kTileTokens * VectorsOf(columns) * Lanes();
    if (floats <= tokens.capacity) return;
    tokens.capacity = 0;
    tokens.values = hwy::AllocateAligned<float>(static_cast<std::size_t>(floats));
    if (!tokens.values) throw std::bad_alloc();
    tokens.capacity = floats;
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(PanelsRepay);
HWY_EXPORT(ResizePackedTokens);
HWY_EXPORT(PackTile);
HWY_EXPORT(MultiplyPanels);

namespace cpu {

bool panelsRepay(DType dtype) {
    return HWY_DYNAMIC_DISPATCH(PanelsRepay)(dtype);
}

void resizePackedTokens(PackedTokens& tokens, std::int64_t n, std::int64_t columns) {
    HWY_DYNAMIC_DISPATCH(ResizePackedTokens)(tokens, n, columns);
}

void packTile(const float* x, std::int64_t tile, PackedTokens& tokens) {
    HWY_DYNAMIC_DISPATCH(PackTile)(x, tile, tokens);
}

void multiplyPanels(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
                    const PackedTokens& tokens, float* out, std::int64_t outStride,
                    bool accumulate) {
    HWY_DYNAMIC_DISPATCH(MultiplyPanels)(weights, begin, end, tokens, out, outStride, accumulate);
}

}  // namespace cpu
}  // namespace qllama
#endif
