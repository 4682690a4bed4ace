// y = x W^T or y += x W^T with quantised weights for many positions (prefill), for CPU-like devices.
//
//   w [rows, columns] (one piece of a matrix)
//   x [n, columns], rounded by round_activations.cl
//   y [n, stride], written at columns first .. first + rows - 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/block_format.h lays them out; with 4
// bits the factors of all rows, an f32 each, follow the tiles. BITS: 8 or 4.
// The products of a block are summed exactly, then scaled and added up in f32 block by block, in order: the
// CPU engine's arithmetic, but that it takes two blocks at a time; and the same, bit for bit, for any TOKENS
// and for any place of a position among the others.
// Work: one work-group of one item a tile, global size ceil(rows / 16). The weights of a block are
// loaded once for TOKENS positions, whose sums of 16 rows stay in registers.
// Moves rows * columns weights once and x once a tile (from cache); 2 n integer operations a weight.

#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define FMA fma
#else
#define FMA mad
#endif
#ifndef TOKENS
#define TOKENS 4
#endif

#include "tile_sums_cpu.clh"

ALWAYS_INLINE void put(float16 sums, __global float* y, int rows, int add) {
    if (rows >= TILE_ROWS) {
        vstore16(add ? vload16(0, y) + sums : sums, 0, y);
        return;
    }
    float values[TILE_ROWS];
    vstore16(sums, 0, values);
    for (int row = 0; row < rows; ++row)
        y[row] = add ? y[row] + values[row] : values[row];
}

// The rows of a tile, whose factors (q4) are given, for `tokens` positions at once: a constant, and at
// most TOKENS.
ALWAYS_INLINE void multiply(int tokens, __global const uchar* tile, __global const float* factors,
                            int blocks, __global const int* x, __global float* y, size_t stride,
                            int rows, int add) {
    const size_t pitch = (size_t)blocks * BLOCK_INTS;
    float16 totals[TOKENS];
    for (int t = 0; t < tokens; ++t)
        totals[t] = (float16)(0.0f);
    for (int b = 0; b < blocks; ++b) {
        __global const uchar* block = tile + (size_t)b * BLOCK_BYTES;
        __global const int* activations = x + b * BLOCK_INTS;
        int16 sums[TOKENS];
        block_sums(tokens, block, activations, pitch, sums);
#if BITS == 8
        const float16 scales = vload_half16(0, (__global const half*)block);
#else
        const float16 scales = convert_float16(vload16(0, block));
        const float16 least = least_steps(block);
#endif
#pragma unroll
        for (int t = 0; t < tokens; ++t) {
            const float scale =
                as_float(activations[t * pitch + BLOCK_INTS - 2]) * (1.0f / SUMS_FACTOR);
            const float16 products = convert_float16(sums[t]);
#if BITS == 8
            totals[t] = FMA(scales * scale, products, totals[t]);
#else
            const float sum = as_float(activations[t * pitch + BLOCK_INTS - 1]);
            totals[t] = FMA((float16)(scale), FMA(least, (float16)(sum), scales * products),
                            totals[t]);
#endif
        }
    }
#if BITS == 4
    for (int t = 0; t < tokens; ++t)
        totals[t] *= vload16(0, factors);
#endif
    for (int t = 0; t < tokens; ++t)
        put(totals[t], y + t * stride, rows, add);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void matmul(
    __global const uchar* w, int rows, int columns, __global const int* x, int n,
    __global float* y, int stride, int first, int accumulate) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const int row = (int)get_group_id(0) * TILE_ROWS;
    const int count = min(TILE_ROWS, rows - row);
    const int tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES;
    __global const float* factors = (__global const float*)(w + tiles * tileBytes) + row;
    w += get_group_id(0) * tileBytes;
    y += first + row;
    int t = 0;
    for (; t + TOKENS <= n; t += TOKENS)
        multiply(TOKENS, w, factors, blocks, x + (size_t)t * blocks * BLOCK_INTS,
                 y + (size_t)t * stride, (size_t)stride, count, accumulate);
    for (; t < n; ++t)
        multiply(1, w, factors, blocks, x + (size_t)t * blocks * BLOCK_INTS,
                 y + (size_t)t * stride, (size_t)stride, count, accumulate);
}
