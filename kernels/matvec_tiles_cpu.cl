// y = W x or y += W x for up to three quantised matrices that share x (decode), for CPU-like devices.
//
//   w0, w1, w2 [rowsN, columns]; rows 0 where there is none
//   x          [columns]
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/quant_format.h lays them out; with 4
// bits the factors of the 16 rows, pairs of f32, follow the blocks of their tile. BITS: 8 or 4.
// Work: one work-group of one item takes an equal share of all tiles, so the number of work-groups is
// the host's choice (a few for each core). The 16 rows of a tile are the lanes of the sums: a group of
// four columns is one load, spread by shifts, and no sum crosses lanes, so that the number of groups
// does not matter to a row's sum.
// Moves every block once; 2 flops a weight.

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
#if BITS == 8
#define BLOCK_BYTES 544
#define FACTOR_BYTES 0
#else
#define BLOCK_BYTES 288
#define FACTOR_BYTES 128
#endif

// Without it sums pass through memory at each call, for each block.
#define ALWAYS_INLINE static inline __attribute__((always_inline))

// Column c of the four columns of 16 rows in `four`: signed bytes.
#define SIGNED_BYTE(four, c) convert_float16(((four) << (24 - 8 * (c))) >> 24)

// Halves of bytes are left where they are in the integer, which saves a shift: they are too large by
// a power of two, and the activations are made smaller by it. Only the uppermost is moved, because it
// would be the sign.
#define LOW_HALF(four, c) convert_float16((four) & (15 << (8 * (c))))
#define HIGH_HALF(four, c) \
    convert_float16((c) == 3 ? as_int16(as_uint16(four) >> 28) : (four) & (240 << (8 * (c))))
#define FOUR(a, b, c, d) (float16)(a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d)
#define LOW_POWERS FOUR(1.0f, 0x1p-8f, 0x1p-16f, 0x1p-24f)
#define HIGH_POWERS FOUR(0x1p-4f, 0x1p-12f, 0x1p-20f, 1.0f)

// Sums of q x over a block, for each row; with 4 bits x comes multiplied by the powers.
ALWAYS_INLINE float16 block_sums(__global const uchar* block, const float* x) {
    __global const int* groups = (__global const int*)(block + 32);
    float16 sums0 = (float16)(0.0f);
    float16 sums1 = (float16)(0.0f);
    float16 sums2 = (float16)(0.0f);
    float16 sums3 = (float16)(0.0f);
#if BITS == 8
#pragma unroll
    for (int g = 0; g < 8; ++g) {
        const int16 four = vload16(g, groups);
        sums0 = FMA(SIGNED_BYTE(four, 0), (float16)(x[4 * g]), sums0);
        sums1 = FMA(SIGNED_BYTE(four, 1), (float16)(x[4 * g + 1]), sums1);
        sums2 = FMA(SIGNED_BYTE(four, 2), (float16)(x[4 * g + 2]), sums2);
        sums3 = FMA(SIGNED_BYTE(four, 3), (float16)(x[4 * g + 3]), sums3);
    }
#else
#pragma unroll
    for (int g = 0; g < 4; ++g) {
        const int16 eight = vload16(g, groups);
        sums0 = FMA(LOW_HALF(eight, 0), (float16)(x[4 * g]), sums0);
        sums1 = FMA(LOW_HALF(eight, 1), (float16)(x[4 * g + 1]), sums1);
        sums2 = FMA(LOW_HALF(eight, 2), (float16)(x[4 * g + 2]), sums2);
        sums3 = FMA(LOW_HALF(eight, 3), (float16)(x[4 * g + 3]), sums3);
        sums0 = FMA(HIGH_HALF(eight, 0), (float16)(x[16 + 4 * g]), sums0);
        sums1 = FMA(HIGH_HALF(eight, 1), (float16)(x[16 + 4 * g + 1]), sums1);
        sums2 = FMA(HIGH_HALF(eight, 2), (float16)(x[16 + 4 * g + 2]), sums2);
        sums3 = FMA(HIGH_HALF(eight, 3), (float16)(x[16 + 4 * g + 3]), sums3);
    }
#endif
    return (sums0 + sums1) + (sums2 + sums3);
}

ALWAYS_INLINE float sum_of(float16 v) {
    const float8 eight = v.lo + v.hi;
    const float4 four = eight.lo + eight.hi;
    return (four.x + four.y) + (four.z + four.w);
}

// The 16 rows of one tile.
ALWAYS_INLINE float16 tile_sums(__global const uchar* tile, int columns, __global const float* x) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    float16 totals = (float16)(0.0f);
#if BITS == 4
    float16 offsets = (float16)(0.0f);
#endif
    for (int b = 0; b < blocks; ++b) {
        __global const uchar* block = tile + (size_t)b * BLOCK_BYTES;
        float activations[BLOCK_COLUMNS];
        const int count = min(BLOCK_COLUMNS, columns - b * BLOCK_COLUMNS);
        if (count == BLOCK_COLUMNS) {
            vstore16(vload16(2 * b, x), 0, activations);
            vstore16(vload16(2 * b + 1, x), 1, activations);
        } else {
            for (int k = 0; k < BLOCK_COLUMNS; ++k)
                activations[k] = k < count ? x[b * BLOCK_COLUMNS + k] : 0.0f;
        }
#if BITS == 8
        const float16 sums = block_sums(block, activations);
        totals = FMA(sums, vload_half16(0, (__global const half*)block), totals);
#else
        const float16 low = vload16(0, activations);
        const float16 high = vload16(1, activations);
        const float all = sum_of(low + high);
        vstore16(low * LOW_POWERS, 0, activations);
        vstore16(high * HIGH_POWERS, 1, activations);
        const float16 sums = block_sums(block, activations);
        totals = FMA(sums, convert_float16(vload16(0, block)), totals);
        offsets = FMA((float16)(all), convert_float16(vload16(1, (__global const char*)block)),
                      offsets);
#endif
    }
#if BITS == 4
    __global const float* factors = (__global const float*)(tile + (size_t)blocks * BLOCK_BYTES);
    totals *= (float16)(vload16(0, factors).even, vload16(1, factors).even);
    totals = FMA(offsets, (float16)(vload16(0, factors).odd, vload16(1, factors).odd), totals);
#endif
    return totals;
}

// Tiles [begin, end) of one matrix.
void tiles_of(__global const uchar* w, __global const float* x, int columns, int rows, int begin,
              int end, __global float* y, int add) {
    const size_t tileBytes =
        (size_t)((columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS) * BLOCK_BYTES + FACTOR_BYTES;
    for (int tile = begin; tile < end; ++tile) {
        float sums[TILE_ROWS];
        vstore16(tile_sums(w + tile * tileBytes, columns, x), 0, sums);
        const int count = min(TILE_ROWS, rows - tile * TILE_ROWS);
        for (int r = 0; r < count; ++r) {
            __global float* place = y + tile * TILE_ROWS + r;
            *place = add ? *place + sums[r] : sums[r];
        }
    }
}

int tiles_in(int rows) {
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void matvec(
    __global const uchar* w0, __global const uchar* w1, __global const uchar* w2, int rows0, int rows1,
    int rows2, __global float* y0, __global float* y1, __global float* y2, int first0, int first1,
    int first2, int accumulate, int columns, __global const float* x) {
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
