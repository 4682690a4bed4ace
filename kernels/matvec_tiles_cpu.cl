// y = W x or y += W x for up to three quantised matrices that share x (decode), for CPU-like devices.
//
//   w0, w1, w2 [rowsN, columns]; rows 0 where there is none
//   x          [columns], rounded by round_activations.cl
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/quant_format.h lays them out; with 4
// bits the factors of all rows, pairs of f32, follow the tiles. BITS: 8 or 4.
// The products of a block are summed exactly in integers, then scaled and added up in f32 block by
// block, in order: the CPU engine's arithmetic.
// Work: a matrix is two bands of tiles, and a step a tile of each, a block of each in turn: the memory
// delivers more to two streams than to one. One work-group of one item takes an equal share of all steps,
// as in matvec_float_cpu.cl. The 16 rows of a tile are the lanes of the sums, and no sum crosses lanes,
// so that the number of groups does not matter to a row's sum.
// Moves every block once; 2 integer operations a weight.

#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define FMA fma
#else
#define FMA mad
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

// What the blocks of a tile come to so far; with 4 bits the minima's part apart.
typedef struct {
    float16 totals;
#if BITS == 4
    float16 offsets;
#endif
} TileSums;

ALWAYS_INLINE void add_block(TileSums* sums, __global const uchar* block, __global const int* x) {
    fetch_ahead(block);
    int16 integers[1];
    block_sums(1, block, x, 0, integers);
    const float16 products = convert_float16(integers[0]);
    const float scale = as_float(x[BLOCK_INTS - 2]) * (1.0f / SUMS_FACTOR);
#if BITS == 8
    sums->totals =
        FMA(vload_half16(0, (__global const half*)block) * scale, products, sums->totals);
#else
    const float scaledSum = as_float(x[BLOCK_INTS - 1]);
    sums->totals = FMA(convert_float16(vload16(0, block)) * scale, products, sums->totals);
    sums->offsets = FMA(convert_float16(vload16(1, (__global const char*)block)),
                        (float16)(scaledSum), sums->offsets);
#endif
}

// The 16 rows of a tile, whose factors (q4) are given, into `rows` of them at y.
ALWAYS_INLINE void put_tile(const TileSums* sums, __global const float* factors, int rows,
                            __global float* y, int add) {
    float16 totals = sums->totals;
#if BITS == 4
    const float16 minima =
        (float16)(vload16(0, factors).odd, vload16(1, factors).odd) * sums->offsets;
    totals = FMA((float16)(vload16(0, factors).even, vload16(1, factors).even), totals, minima);
#endif
    float values[TILE_ROWS];
    vstore16(totals, 0, values);
    for (int r = 0; r < min(TILE_ROWS, rows); ++r)
        y[r] = add ? y[r] + values[r] : values[r];
}

int tiles_in(int rows) {
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

int steps_in(int rows) {
    return (tiles_in(rows) + 1) / 2;
}

// Steps [begin, end) of one matrix.
void steps_of(__global const uchar* w, __global const int* x, int columns, int rows, int begin,
              int end, __global float* y, int add) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES;
    __global const float* factors = (__global const float*)(w + tiles_in(rows) * tileBytes);
    const int band = steps_in(rows);
    for (int tile = begin; tile < end; ++tile) {
        const int other = tile + band;
        const int two = other < tiles_in(rows);
        TileSums sums = {0}, other_sums = {0};
        for (int b = 0; b < blocks; ++b) {
            const size_t offset = (size_t)b * BLOCK_BYTES;
            add_block(&sums, w + tile * tileBytes + offset, x + b * BLOCK_INTS);
            if (two) add_block(&other_sums, w + other * tileBytes + offset, x + b * BLOCK_INTS);
        }
        put_tile(&sums, factors + tile * TILE_ROWS * 2, rows - tile * TILE_ROWS,
                 y + tile * TILE_ROWS, add);
        if (two)
            put_tile(&other_sums, factors + other * TILE_ROWS * 2, rows - other * TILE_ROWS,
                     y + other * TILE_ROWS, add);
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void matvec(
    __global const uchar* w0, __global const uchar* w1, __global const uchar* w2, int rows0, int rows1,
    int rows2, __global float* y0, __global float* y1, __global float* y2, int first0, int first1,
    int first2, int accumulate, int columns, __global const int* x) {
    const int end0 = steps_in(rows0);
    const int end1 = end0 + steps_in(rows1);
    const long steps = end1 + steps_in(rows2);
    const int begin = (int)(steps * (long)get_group_id(0) / (long)get_num_groups(0));
    const int end = (int)(steps * (long)(get_group_id(0) + 1) / (long)get_num_groups(0));
    if (begin < end0)
        steps_of(w0, x, columns, rows0, begin, min(end, end0), y0 + first0, accumulate & 1);
    if (begin < end1 && end > end0)
        steps_of(w1, x, columns, rows1, max(begin, end0) - end0, min(end, end1) - end0, y1 + first1,
                 accumulate & 2);
    if (end > end1)
        steps_of(w2, x, columns, rows2, max(begin, end1) - end1, end - end1, y2 + first2,
                 accumulate & 4);
}
