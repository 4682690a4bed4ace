// y = W x or y += W x for up to three quantised matrices that share x (decode), for CPU-like devices.
//
//   w0, w1, w2 [rowsN, columns]; rows 0 where there is none
//   x          [columns], rounded by round_activations.cl
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/block_format.h lays them out; with 4
// bits the factors of all rows, an f32 each, follow the tiles. BITS: 8 or 4.
// The products of a block are summed exactly, then scaled and added up in f32 block by block, in order: the
// CPU engine's arithmetic, but that it takes two blocks at a time.
// Work: matvec_steps_cpu.clh, with steps of a tile of each of ROWS bands, a block of each in turn. The 16
// rows of a tile are the lanes of the sums, and no sum crosses lanes.
// Moves every block once; 2 integer operations a weight.

#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define FMA fma
#else
#define FMA mad
#endif
#ifndef ROWS
#define ROWS 2
#endif
#define TOKENS 1

#include "tile_sums_cpu.clh"

// The processor's own prefetching stops at the end of each page. (Beyond the weights it does nothing.)
ALWAYS_INLINE void fetch_ahead(__global const uchar* block) {
#if defined(__x86_64__) || defined(__aarch64__)  // not where an intermediate language has no word for it
#pragma unroll
    for (int line = 0; line < BLOCK_BYTES; line += 64)
        __builtin_prefetch((const void*)((size_t)block + 1024 + line));
#endif
}

// Adds a block to what the blocks of a tile come to so far.
ALWAYS_INLINE void add_block(float16* totals, __global const uchar* block, __global const int* x) {
    fetch_ahead(block);
    int16 integers[1];
    block_sums(1, block, x, 0, integers);
    const float16 products = convert_float16(integers[0]);
    const float scale = as_float(x[BLOCK_INTS - 2]) * (1.0f / SUMS_FACTOR);
#if BITS == 8
    *totals = FMA(vload_half16(0, (__global const half*)block) * scale, products, *totals);
#else
    const float16 steps = FMA(least_steps(block), (float16)(as_float(x[BLOCK_INTS - 1])),
                              convert_float16(vload16(0, block)) * products);
    *totals = FMA((float16)(scale), steps, *totals);
#endif
}

// The 16 rows of a tile, whose factors (q4) are given, into `rows` of them at y.
ALWAYS_INLINE void put_tile(float16 totals, __global const float* factors, int rows,
                            __global float* y, int add) {
#if BITS == 4
    totals *= vload16(0, factors);
#endif
    float values[TILE_ROWS];
    vstore16(totals, 0, values);
    for (int r = 0; r < min(TILE_ROWS, rows); ++r)
        y[r] = add ? y[r] + values[r] : values[r];
}

int tiles_in(int rows) {
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

// `count` tiles, at most ROWS: tile, tile + step, ..
ALWAYS_INLINE void far_tiles(int count, __global const uchar* w, __global const int* x, int columns,
                             int rows, int tile, int step, __global float* y, int add) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES;
    __global const uchar* start = w + tile * tileBytes;
    const size_t stride = step * tileBytes;
    float16 totals[ROWS];
#pragma unroll
    for (int t = 0; t < count; ++t)
        totals[t] = (float16)(0.0f);
    for (int b = 0; b < blocks; ++b)
#pragma unroll
        for (int t = 0; t < count; ++t)
            add_block(&totals[t], start + t * stride + (size_t)b * BLOCK_BYTES, x + b * BLOCK_INTS);
    __global const float* factors = (__global const float*)(w + tiles_in(rows) * tileBytes);
#pragma unroll
    for (int t = 0; t < count; ++t) {
        const int row = (tile + t * step) * TILE_ROWS;
        put_tile(totals[t], factors + row, rows - row, y + row, add);
    }
}

int steps_in(int rows) {
    return (tiles_in(rows) + ROWS - 1) / ROWS;
}

// Steps [begin, end) of one matrix.
void steps_of(__global const uchar* w, __global const int* x, int columns, int rows, int begin,
              int end, __global float* y, int add) {
    const int band = steps_in(rows);
    const int tiles = tiles_in(rows);
    for (int step = begin; step < end; ++step) {
        if (step + (ROWS - 1) * band < tiles) {
            far_tiles(ROWS, w, x, columns, rows, step, band, y, add);
            continue;
        }
        for (int tile = step; tile < tiles; tile += band)
            far_tiles(1, w, x, columns, rows, tile, band, y, add);
    }
}

typedef uchar Weight;
typedef int Input;

#include "matvec_steps_cpu.clh"
