// y = W x or y += W x for up to three quantised matrices that share x (decode), for CPU-like devices.
//
//   w0, w1, w2 [rowsN, columns]; rows 0 where there is none
//   x          [columns], rounded by round_activations.cl (WIDE)
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/quant_format.h lays them out; with 4
// bits the factors of all rows, pairs of f32, follow the tiles. BITS: 8 or 4.
// The products of a block are summed exactly in integers, then scaled and added up in f32 block by
// block, in order: the CPU engine's arithmetic.
// Work: one work-group of one item takes an equal share of all tiles, so the number of work-groups is
// the host's choice (a few for each core). A share is read as two streams far apart, a block of each in
// turn: the memory delivers more to two than to one. The 16 rows of a tile are the lanes of the sums, and no sum
// crosses lanes, so that the number of groups does not matter to a row's sum.
// Moves every block once; 2 integer operations a weight.

#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define FMA fma
#else
#define FMA mad
#endif
#ifndef BITS
#define BITS 8
#endif

#define TILE_ROWS 16
#define BLOCK_COLUMNS 32
#define BLOCK_INTS 18  // of x
#if BITS == 8
#define BLOCK_BYTES 544
#else
#define BLOCK_BYTES 288
#endif

// Without it sums pass through memory at each call, for each block.
#define ALWAYS_INLINE static inline __attribute__((always_inline))

// For each row two 16-bit weights times two 16-bit activations, summed: written so that compilers
// find the one instruction that does it.
ALWAYS_INLINE int8 pairs_of_half(int8 w, int activations) {
    const int16 products =
        convert_int16(as_short16(w)) * convert_int16(as_short16((int8)(activations)));
    return products.even + products.odd;
}

// Adds such sums of all rows. LLVM looks for the instruction after it has brought additions into an
// order of its own, across calls; what keeps those of each call together until then is that they go to
// an array, by a loop over its one element, in a loop that is not unrolled.
ALWAYS_INLINE void add_pairs(int16 w, int activations, int16* sums) {
#pragma unroll
    for (int i = 0; i < 1; ++i)
        sums[i] += (int16)(pairs_of_half(w.lo, activations), pairs_of_half(w.hi, activations));
}

// Each 16 bits of v shifted.
#define SHIFT16(v, type, shift) \
    (int16)(as_int8(as_##type((v).lo) shift), as_int8(as_##type((v).hi) shift))

// The sum of each row over a block. Bytes and halves of bytes are left where they are in their 16
// bits where that saves a shift, and the sums, too large by a power of two, are shifted instead.
ALWAYS_INLINE int16 block_sums(__global const uchar* block, __global const int* x) {
    __global const int* groups = (__global const int*)(block + 32);
    int16 sums[1] = {(int16)(0)};
#if BITS == 8
#pragma unroll 1
    for (int g = 0; g < 8; ++g) {
        const int16 four = vload16(g, groups);
        add_pairs(SHIFT16(four, ushort16, << 8), x[2 * g], sums);
        add_pairs(four & (int16)(0xff00ff00), x[2 * g + 1], sums);
    }
    return sums[0] >> 8;
#else
    int16 sums16[1] = {(int16)(0)};
    int16 sums256[1] = {(int16)(0)};
#pragma unroll 1
    for (int g = 0; g < 4; ++g) {
        const int16 eight = vload16(g, groups);
        add_pairs(eight & (int16)(0x000f000f), x[2 * g], sums);
        add_pairs(eight & (int16)(0x0f000f00), x[2 * g + 1], sums256);
        add_pairs(eight & (int16)(0x00f000f0), x[2 * g + 8], sums16);
        add_pairs(SHIFT16(eight, ushort16, >> 12), x[2 * g + 9], sums);
    }
    return sums[0] + (sums16[0] >> 4) + (sums256[0] >> 8);
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
    const float16 products = convert_float16(block_sums(block, x));
    const float scale = as_float(x[BLOCK_INTS - 2]);
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

// Tiles [begin, end) of one matrix.
void tiles_of(__global const uchar* w, __global const int* x, int columns, int rows, int begin,
              int end, __global float* y, int add) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES;
    __global const float* factors = (__global const float*)(w + tiles_in(rows) * tileBytes);
    const int half_way = (end - begin) / 2;
    for (int tile = begin; tile < begin + half_way; ++tile) {
        const int other = tile + half_way;
        TileSums sums = {0}, other_sums = {0};
        for (int b = 0; b < blocks; ++b) {
            const size_t offset = (size_t)b * BLOCK_BYTES;
            add_block(&sums, w + tile * tileBytes + offset, x + b * BLOCK_INTS);
            add_block(&other_sums, w + other * tileBytes + offset, x + b * BLOCK_INTS);
        }
        put_tile(&sums, factors + tile * TILE_ROWS * 2, rows - tile * TILE_ROWS,
                 y + tile * TILE_ROWS, add);
        put_tile(&other_sums, factors + other * TILE_ROWS * 2, rows - other * TILE_ROWS,
                 y + other * TILE_ROWS, add);
    }
    if ((end - begin) % 2 == 0) return;
    TileSums sums = {0};
    for (int b = 0; b < blocks; ++b)
        add_block(&sums, w + (end - 1) * tileBytes + (size_t)b * BLOCK_BYTES, x + b * BLOCK_INTS);
    put_tile(&sums, factors + (end - 1) * TILE_ROWS * 2, rows - (end - 1) * TILE_ROWS,
             y + (end - 1) * TILE_ROWS, add);
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void matvec(
    __global const uchar* w0, __global const uchar* w1, __global const uchar* w2, int rows0, int rows1,
    int rows2, __global float* y0, __global float* y1, __global float* y2, int first0, int first1,
    int first2, int accumulate, int columns, __global const int* x) {
    const int end0 = tiles_in(rows0);
    const int end1 = end0 + tiles_in(rows1);
    const long tiles = end1 + tiles_in(rows2);
    const int begin = (int)(tiles * (long)get_group_id(0) / (long)get_num_groups(0));
    const int end = (int)(tiles * (long)(get_group_id(0) + 1) / (long)get_num_groups(0));
    if (begin < end0)
        tiles_of(w0, x, columns, rows0, begin, min(end, end0), y0 + first0, accumulate & 1);
    if (begin < end1 && end > end0)
        tiles_of(w1, x, columns, rows1, max(begin, end0) - end0, min(end, end1) - end0, y1 + first1,
                 accumulate & 2);
    if (end > end1)
        tiles_of(w2, x, columns, rows2, max(begin, end1) - end1, end - end1, y2 + first2,
                 accumulate & 4);
}
