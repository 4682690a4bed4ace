#include "engine/backend/cpu/kernels/panel_kernels.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <span>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/backend/cpu/kernels/panel_kernels.cpp"
#include <hwy/foreach_target.h>

#include "engine/backend/cpu/kernels/register_tile-inl.h"
#include "engine/backend/cpu/kernels/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace qllama::HWY_NAMESPACE {

using cpu::PackedTokens;
using cpu::RowMajorWeights;

// A register tile: a panel of two vectors of rows by 6 tokens are 12 sums and fit 16 registers, 24 fit 32.
// What is left of the tokens goes in smaller tiles.
constexpr int kPanelVectors = 2;
constexpr std::int64_t kPanelRows = kPanelVectors * kLanes;
constexpr int kTileTokens = kHasAvx512 ? 12 : 6;
constexpr int kPartTokens = kHasAvx512 ? 4 : 3;

// So many panels stay in the L2 cache while the tokens pass by, one panel at least.
constexpr std::int64_t kL2PanelBytes = std::int64_t{kHasAvx512 ? 512 : 256} << 10;

// Tokens of up to this size stay in the last-level cache, so that all pass by those panels, and then all by the
// next. More of them would come from memory each time; so they pass in blocks, each by many panels, which stay
// in that cache too. The threads share it, but each has the panels in its L2 cache.
constexpr std::int64_t kLastLevelTokenBytes = std::int64_t{6} << 20;
constexpr std::int64_t kLastLevelPanelBytes = std::int64_t{6} << 20;
constexpr std::int64_t kTokenBlockBytes = std::int64_t{1} << 20;

// The sum of a vector's lanes adds those that lie half a vector apart, then a quarter, and so on. Taken
// with the bits of their numbers reversed, each lane is added to the one before it, that sum of two to
// the two before them, and so on.
constexpr int LaneAt(int place) {
    int lane = 0;
    for (int bit = 1; bit < kLanes; bit *= 2)
        lane = lane * 2 + (place & bit ? 1 : 0);
    return lane;
}

constexpr int kMostWaiting = 5;  // of 16 lanes

HWY_INLINE std::int64_t VectorsOf(std::int64_t columns) {
    return (columns + kLanes - 1) / kLanes;
}

// From one lane of a panel to the next; without the gap all of them would share few sets of a cache.
HWY_INLINE std::int64_t LaneFloats(std::int64_t columns) {
    return (VectorsOf(columns) + 1) * kPanelRows;
}

std::int64_t PanelFloats(std::int64_t columns) {
    return LaneFloats(columns) * kLanes;
}

HWY_INLINE std::int64_t TileFloats(std::int64_t columns) {
    return VectorsOf(columns) * kLanes * kTileTokens;
}

HWY_INLINE std::int64_t TilesOf(std::int64_t n) {
    return (n + kTileTokens - 1) / kTileTokens;
}

// How many of so many floats each fill a cache; at least one.
HWY_INLINE std::int64_t Fitting(std::int64_t floatsEach, std::int64_t bytes) {
    return std::max<std::int64_t>(1, bytes / (floatsEach * std::int64_t{sizeof(float)}));
}

HWY_INLINE bool StayCached(std::int64_t n, std::int64_t columns) {
    return TilesOf(n) <= Fitting(TileFloats(columns), kLastLevelTokenBytes);
}

// Elements [column, column + kLanes) of a row, zero behind its end.
template <typename T>
HWY_INLINE F32Vector LoadPadded(const T* row, std::int64_t columns, std::int64_t column) {
    if (column + kLanes <= columns) return LoadAsF32(F32Tag(), row + column);
    return LoadTailAsF32(F32Tag(), row + column, static_cast<std::size_t>(columns - column));
}

// Tokens of a tile, those from n on being zero: [lane][vector][token].
void PackTile(const float* x, std::int64_t tile, PackedTokens& tokens) {
    const F32Tag d;
    const std::int64_t vectors = VectorsOf(tokens.columns);
    float* out = tokens.values.get() + tile * TileFloats(tokens.columns);
    for (int first = 0; first < kTileTokens; first += kLanes) {
        const int count = std::min(kLanes, kTileTokens - first);
        const auto mask = hn::FirstN(d, static_cast<std::size_t>(count));
        for (std::int64_t v = 0; v < vectors; ++v) {
            F32Vector block[kLanes];
            for (int t = 0; t < kLanes; ++t) {
                const std::int64_t token = tile * kTileTokens + first + t;
                block[t] = t < count && token < tokens.n
                               ? LoadPadded(x + token * tokens.columns, tokens.columns, v * kLanes)
                               : hn::Zero(d);
            }
            Transpose(block);
            for (int place = 0; place < kLanes; ++place)
                hn::BlendedStore(block[LaneAt(place)], mask, d,
                                 out + (place * vectors + v) * kTileTokens + first);
        }
    }
}

// Rows [row, row + kPanelRows) of the matrix, those from `end` on being zero: [lane][vector][row].
template <typename T>
void PackPanel(const RowMajorWeights& w, std::int64_t row, std::int64_t end, float* panel) {
    const F32Tag d;
    const std::int64_t laneFloats = LaneFloats(w.columns);
    const T* weights = static_cast<const T*>(w.data);
    for (int h = 0; h < kPanelVectors; ++h, row += kLanes)
        for (std::int64_t v = 0; v < VectorsOf(w.columns); ++v) {
            F32Vector block[kLanes];
            if (row + kLanes <= end && (v + 1) * kLanes <= w.columns)
                for (int r = 0; r < kLanes; ++r)
                    block[r] = LoadAsF32(d, weights + (row + r) * w.columns + v * kLanes);
            else
                for (int r = 0; r < kLanes; ++r)
                    block[r] = row + r < end ? LoadPadded(weights + (row + r) * w.columns,
                                                          w.columns, v * kLanes)
                                             : hn::Zero(d);
            Transpose(block);
            for (int place = 0; place < kLanes; ++place)
                hn::Store(block[LaneAt(place)], d,
                          panel + place * laneFloats + (v * kPanelVectors + h) * kLanes);
        }
}

template <int kTokens>
using TileOfSums = RegisterTile<F32Tag, kPanelVectors, kTokens>;  // [vector of rows][token]

// One lane of every row with kTokens tokens.
template <int kTokens>
HWY_INLINE void MultiplyLane(const float* weights, const float* x, std::int64_t vectors,
                             TileOfSums<kTokens>& tile) {
    const F32Tag d;
    tile.clear();
    for (std::int64_t v = 0; v < vectors; ++v, weights += kPanelRows, x += kTileTokens)
        tile.add([&](int h) HWY_ATTR { return hn::Load(d, weights + h * kLanes); },
                 [&](int t) HWY_ATTR { return hn::Set(d, x[t]); });
}

struct Target {
    float* out;  // [token * stride + row]
    std::int64_t stride;
    bool accumulate;
};

HWY_INLINE void PutVector(F32Vector sums, std::int64_t rows, bool accumulate, float* out) {
    const F32Tag d;
    if (rows >= kLanes) {
        hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, out), sums) : sums, d, out);
        return;
    }
    HWY_ALIGN float each[kLanes];
    hn::Store(sums, d, each);
    for (std::int64_t row = 0; row < rows; ++row)
        out[row] = accumulate ? out[row] + each[row] : each[row];
}

// The weights to be packed next, which memory brings little by little meanwhile.
class NextWeights {
public:
    // in so many calls of fetchSome()
    NextWeights(std::span<const std::byte> bytes, std::int64_t turns)
        : m_at(bytes.data()),
          m_end(bytes.data() + bytes.size()),
          m_linesEach(((m_end - m_at) / kLineBytes + turns - 1) / turns) {}
    HWY_INLINE void fetchSome() {
        for (std::int64_t i = 0; i < m_linesEach && m_at < m_end; ++i, m_at += kLineBytes)
            FetchLines<kLineBytes>(m_at);
    }

private:
    const std::byte* m_at;
    const std::byte* m_end;
    std::int64_t m_linesEach;
};

// A panel with kTokens tokens, of which `tokens` are put to target.out, and `rows` rows of each.
template <int kTokens>
void MultiplyTile(const float* panel, const float* x, std::int64_t columns, std::int64_t tokens,
                  std::int64_t rows, NextWeights& next, const Target& target) {
    // Where results go lies far apart and in no cache: fetched while they are computed.
    for (std::int64_t t = 0; t < tokens; ++t)
        FetchLines<kPanelRows * sizeof(float)>(target.out + t * target.stride);
    const std::int64_t vectors = VectorsOf(columns);
    // Sums of a lane, of two, of four and so on, that wait to be added to as many later ones.
    HWY_ALIGN float sums[kMostWaiting][kPanelVectors * kTokens * kLanes];
    int waiting = 0;
    for (int place = 0; place < kLanes; ++place) {
        next.fetchSome();
        TileOfSums<kTokens> tile;
        MultiplyLane(panel + place * LaneFloats(columns), x + place * vectors * kTileTokens,
                     vectors, tile);
        for (int done = place + 1; done % 2 == 0; done /= 2)
            tile.addStored(sums[--waiting]);
        tile.store(sums[waiting++]);
    }
    for (std::int64_t t = 0; t < tokens; ++t)
        for (int h = 0; h < kPanelVectors && h * kLanes < rows; ++h)
            PutVector(hn::Load(F32Tag(), sums[0] + (h * kTokens + t) * kLanes), rows - h * kLanes,
                      target.accumulate, target.out + t * target.stride + h * kLanes);
}

// A tile of the tokens times a panel, whose rows target.out begins with.
HWY_INLINE void MultiplyTokens(const float* panel, const PackedTokens& tokens, std::int64_t tile,
                               std::int64_t rows, NextWeights& next, const Target& target) {
    const float* x = tokens.values.get() + tile * TileFloats(tokens.columns);
    const std::int64_t count = std::min<std::int64_t>(kTileTokens, tokens.n - tile * kTileTokens);
    float* out = target.out + tile * kTileTokens * target.stride;
    if (count > kTileTokens - kPartTokens) {
        MultiplyTile<kTileTokens>(panel, x, tokens.columns, count, rows, next,
                                  {out, target.stride, target.accumulate});
        return;
    }
    for (std::int64_t first = 0; first < count; first += kPartTokens)
        MultiplyTile<kPartTokens>(panel, x + first, tokens.columns,
                                  std::min<std::int64_t>(kPartTokens, count - first), rows, next,
                                  {out + first * target.stride, target.stride, target.accumulate});
}

struct Range {
    std::int64_t begin;
    std::int64_t end;
};

// The panels of these rows with these tiles of the tokens, which stay in the L2 cache and in the last one.
void MultiplyBlock(const float* panels, Range rows, const PackedTokens& tokens, Range tiles,
                   NextWeights& next, const Target& target) {
    for (std::int64_t tile = tiles.begin; tile < tiles.end; ++tile)
        for (std::int64_t row = rows.begin; row < rows.end; row += kPanelRows)
            MultiplyTokens(panels + row / kPanelRows * PanelFloats(tokens.columns), tokens, tile,
                           rows.end - row, next,
                           {target.out + row, target.stride, target.accumulate});
}

void PackPanels(const RowMajorWeights& w, std::int64_t begin, std::int64_t end, float* panels) {
    for (std::int64_t row = begin; row < end; row += kPanelRows, panels += PanelFloats(w.columns))
        switch (w.dtype) {
            case DType::F32:
                PackPanel<float>(w, row, end, panels);
                break;
            case DType::F16:
                PackPanel<hwy::float16_t>(w, row, end, panels);
                break;
            case DType::BF16:
                PackPanel<hwy::bfloat16_t>(w, row, end, panels);
                break;
            default:
                assert(false);
        }
}

void MultiplyPanels(const float* panels, std::int64_t rows, const PackedTokens& tokens,
                    std::span<const std::byte> next, float* out, std::int64_t outStride,
                    bool accumulate) {
    const std::int64_t columns = tokens.columns;
    const std::int64_t cachedRows = Fitting(PanelFloats(columns), kL2PanelBytes) * kPanelRows;
    const std::int64_t blockTiles = StayCached(tokens.n, columns)
                                        ? tokens.tiles
                                        : Fitting(TileFloats(columns), kTokenBlockBytes);
    const std::int64_t panelCount = (rows + kPanelRows - 1) / kPanelRows;
    NextWeights nextWeights(next, tokens.tiles * panelCount * kLanes);
    for (std::int64_t tile = 0; tile < tokens.tiles; tile += blockTiles)
        for (std::int64_t row = 0; row < rows; row += cachedRows)
            MultiplyBlock(panels, {row, std::min(row + cachedRows, rows)}, tokens,
                          {tile, std::min(tile + blockTiles, tokens.tiles)}, nextWeights,
                          {out, outStride, accumulate});
}

std::int64_t PanelRowsOf() {
    return kPanelRows;
}

void ResizePackedTokens(PackedTokens& tokens, std::int64_t n, std::int64_t columns) {
    tokens.n = n;
    tokens.columns = columns;
    tokens.tiles = TilesOf(n);
    tokens.values.resize(tokens.tiles * TileFloats(columns));
}

std::int64_t PanelGroupRows(std::int64_t n, std::int64_t columns, int threads) {
    const std::int64_t bytes = StayCached(n, columns)
                                   ? kL2PanelBytes
                                   : std::max(kL2PanelBytes, kLastLevelPanelBytes / threads);
    return kPanelRows * Fitting(PanelFloats(columns), bytes);
}

}  // namespace qllama::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace qllama {
HWY_EXPORT(PanelRowsOf);
HWY_EXPORT(ResizePackedTokens);
HWY_EXPORT(PanelGroupRows);
HWY_EXPORT(PanelFloats);
HWY_EXPORT(PackPanels);
HWY_EXPORT(PackTile);
HWY_EXPORT(MultiplyPanels);

namespace cpu {

std::int64_t panelRows() {
    return HWY_DYNAMIC_DISPATCH(PanelRowsOf)();
}

void resizePackedTokens(PackedTokens& tokens, std::int64_t n, std::int64_t columns) {
    HWY_DYNAMIC_DISPATCH(ResizePackedTokens)(tokens, n, columns);
}

std::int64_t panelGroupRows(std::int64_t n, std::int64_t columns, int threads) {
    return HWY_DYNAMIC_DISPATCH(PanelGroupRows)(n, columns, threads);
}

std::int64_t panelFloats(std::int64_t columns) {
    return HWY_DYNAMIC_DISPATCH(PanelFloats)(columns);
}

void packTile(const float* x, std::int64_t tile, PackedTokens& tokens) {
    HWY_DYNAMIC_DISPATCH(PackTile)(x, tile, tokens);
}

void packPanels(const RowMajorWeights& weights, std::int64_t begin, std::int64_t end,
                float* panels) {
    HWY_DYNAMIC_DISPATCH(PackPanels)(weights, begin, end, panels);
}

void multiplyPanels(const float* panels, std::int64_t rows, const PackedTokens& tokens,
                    std::span<const std::byte> next, float* out, std::int64_t outStride,
                    bool accumulate) {
    HWY_DYNAMIC_DISPATCH(MultiplyPanels)
    (panels, rows, tokens, next, out, outStride, accumulate);
}

}  // namespace cpu
}  // namespace qllama
#endif
