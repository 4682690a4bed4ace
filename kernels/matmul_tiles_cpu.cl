// y = x W^T or y += x W^T with quantised weights for many positions (prefill), for CPU-like devices.
//
//   w [rows, columns] (one piece of a matrix)
//   x [n, columns]
//   y [n, stride], written at columns first .. first + rows - 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/quant_format.h lays them out; with 4
// bits the factors of the 16 rows, pairs of f32, follow the blocks of their tile. BITS: 8 or 4.
// Work: one work-group of one item a panel of PANEL = 2 LANES rows, global size ceil(rows / PANEL).
// The panel is widened to f32 once for each DEPTH columns and laid out with its rows side by side,
// so that a tile of TOKENS positions x PANEL rows stays in registers and needs no horizontal sums (6
// positions: 12 sums, 2 weights and 1 activation in 16 registers). The sum of each result is the same,
// bit for bit, for any TOKENS and for any place of its position among the others.
// LANES: floats of a vector, 8 or 16.
// Moves rows * columns weights once and x once a panel (from cache); 2 n flops a weight.

#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define FMA fma
#else
#define FMA mad
#endif
#ifndef TOKENS
#define TOKENS 6
#endif
#ifndef LANES
#define LANES 8
#endif
#ifndef BITS
#define BITS 8
#endif

#define TILE_ROWS 16
#define BLOCK_COLUMNS 32
#if BITS == 8
#define BLOCK_BYTES 544
#define FACTOR_BYTES 0
#else
#define BLOCK_BYTES 288
#define FACTOR_BYTES 128
#endif

#if LANES == 16
typedef float16 Vector;
#define LOAD(p) vload16(0, (p))
#define STORE(v, p) vstore16((v), 0, (p))
#else
typedef float8 Vector;
#define LOAD(p) vload8(0, (p))
#define STORE(v, p) vstore8((v), 0, (p))
#endif

#define PANEL (2 * LANES)
#define DEPTH 256  // columns at a time: the panel takes 16 or 32 KiB

// panel[k][row] = w[row][k] of one tile for the columns of `count` blocks, as 16 rows of PANEL.
void widen_tile(__global const uchar* tile, int blocks, int first, int count,
                __local float* panel) {
#if BITS == 4
    __global const float* factors =
        (__global const float*)(tile + (size_t)blocks * BLOCK_BYTES);
    const float16 rowScales = (float16)(vload16(0, factors).even, vload16(1, factors).even);
    const float16 rowMinima = (float16)(vload16(0, factors).odd, vload16(1, factors).odd);
#endif
    for (int b = 0; b < count; ++b) {
        __global const uchar* block = tile + (size_t)(first + b) * BLOCK_BYTES;
        __global const int* groups = (__global const int*)(block + 32);
        __local float* target = panel + b * BLOCK_COLUMNS * PANEL;
#if BITS == 8
        const float16 scales = vload_half16(0, (__global const half*)block);
        for (int g = 0; g < BLOCK_COLUMNS / 4; ++g) {
            const int16 four = vload16(g, groups);
#pragma unroll
            for (int c = 0; c < 4; ++c)
                vstore16(convert_float16((four << (24 - 8 * c)) >> 24) * scales, 0,
                         target + (4 * g + c) * PANEL);
        }
#else
        const float16 scales = rowScales * convert_float16(vload16(0, block));
        const float16 minima =
            rowMinima * convert_float16(vload16(1, (__global const char*)block));
        for (int g = 0; g < BLOCK_COLUMNS / 8; ++g) {
            const int16 eight = vload16(g, groups);
#pragma unroll
            for (int c = 0; c < 4; ++c) {
                vstore16(FMA(convert_float16((eight >> (8 * c)) & 15), scales, minima), 0,
                         target + (4 * g + c) * PANEL);
                vstore16(FMA(convert_float16((eight >> (8 * c + 4)) & 15), scales, minima), 0,
                         target + (BLOCK_COLUMNS / 2 + 4 * g + c) * PANEL);
            }
        }
#endif
    }
}

// The tiles of a panel, zero where there is none.
void widen_panel(__global const uchar* w, int columns, int row, int rows, int column, int depth,
                 __local float* panel) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES + FACTOR_BYTES;
    const int count = (depth + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    for (int t = 0; t < PANEL / TILE_ROWS; ++t) {
        __local float* target = panel + t * TILE_ROWS;
        if (row + t * TILE_ROWS < rows) {
            widen_tile(w + (size_t)(row / TILE_ROWS + t) * tileBytes, blocks,
                       column / BLOCK_COLUMNS, count, target);
            continue;
        }
        for (int k = 0; k < depth; ++k)
            vstore16((float16)(0.0f), 0, target + k * PANEL);
    }
}

void put(Vector low, Vector high, __global float* y, int rows, int add) {
    if (rows >= PANEL) {
        STORE(add ? LOAD(y) + low : low, y);
        STORE(add ? LOAD(y + LANES) + high : high, y + LANES);
        return;
    }
    float sums[PANEL];
    STORE(low, sums);
    STORE(high, sums + LANES);
    for (int row = 0; row < rows; ++row)
        y[row] = add ? y[row] + sums[row] : sums[row];
}

// `tokens` positions at once: a constant, and at most TOKENS.
static inline __attribute__((always_inline)) void tile(int tokens, __local const float* panel,
                                                       __global const float* x, size_t columns,
                                                       int count, __global float* y,
                                                       size_t stride, int rows, int add) {
    Vector low[TOKENS];
    Vector high[TOKENS];
    for (int t = 0; t < tokens; ++t)
        low[t] = high[t] = (Vector)(0.0f);
    for (int k = 0; k < count; ++k) {
        const Vector w0 = LOAD(panel + k * PANEL);
        const Vector w1 = LOAD(panel + k * PANEL + LANES);
#pragma unroll
        for (int t = 0; t < tokens; ++t) {
            const Vector activation = (Vector)(x[t * columns + k]);
            low[t] = FMA(w0, activation, low[t]);
            high[t] = FMA(w1, activation, high[t]);
        }
    }
    for (int t = 0; t < tokens; ++t)
        put(low[t], high[t], y + t * stride, rows, add);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void matmul(
    __global const uchar* w, int rows, int columns, __global const float* x, int n,
    __global float* y, int stride, int first, int accumulate) {
    __local float panel[DEPTH * PANEL];
    const int row = (int)get_group_id(0) * PANEL;
    const int count = min(PANEL, rows - row);
    y += first + row;
    for (int column = 0; column < columns; column += DEPTH) {
        const int depth = min(DEPTH, columns - column);
        const int add = accumulate || column != 0;
        widen_panel(w, columns, row, rows, column, depth, panel);
        int t = 0;
        for (; t + TOKENS <= n; t += TOKENS)
            tile(TOKENS, panel, x + (size_t)t * columns + column, (size_t)columns, depth,
                 y + (size_t)t * stride, (size_t)stride, count, add);
        for (; t + 2 <= n; t += 2)
            tile(2, panel, x + (size_t)t * columns + column, (size_t)columns, depth,
                 y + (size_t)t * stride, (size_t)stride, count, add);
        if (t < n)
            tile(1, panel, x + (size_t)t * columns + column, (size_t)columns, depth,
                 y + (size_t)t * stride, (size_t)stride, count, add);
    }
}
