// y = W x or y += W x for up to three quantised matrices that share x (decode), for GPU-like devices.
//
//   w0, w1, w2 [rowsN, columns]; rows 0 where there is none
//   x          [columns], rounded by round_activations.cl
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/block_format.h lays them out; with 4
// bits the factors of all rows, an f32 each, follow the tiles. BITS: 8 or 4.
// The products of a block are summed exactly in integers, then scaled and added up in f32.
// Work: the blocks of a tile are dealt out to PARTS parts (a power of two). An item takes four rows of
// EACH parts (that many blocks are under way together), so that four items read a block, 64 neighbouring
// bytes at a time, 16 each; a team of TEAM = 4 PARTS / EACH items takes a tile. The parts are added two
// by two, in registers and then in local memory. Global size: LOCAL * ceil(tiles / (LOCAL / TEAM)). A
// row's sum depends on PARTS, not on EACH and LOCAL.
// Moves every block once; 2 integer operations a weight.

#include "dot_bytes_gpu.clh"

#ifndef PARTS
#define PARTS 8
#endif
#ifndef EACH
#define EACH 1
#endif
#ifndef LOCAL
#define LOCAL 32
#endif
#ifndef BITS
#define BITS 8
#endif

#define TILE_ROWS 16
#define BLOCK_COLUMNS 32
#define BLOCK_INTS 10  // of x
#if BITS == 8
#define BLOCK_BYTES 544
#define GROUPS 8
#else
#define BLOCK_BYTES 288
#define GROUPS 4
#endif

#define QUADS (TILE_ROWS / 4)
#define TEAM (QUADS * PARTS / EACH)

int4 dot_bytes4(int4 rows, int x, int4 sums) {
    return (int4)(dot_bytes(rows.x, x, sums.x), dot_bytes(rows.y, x, sums.y),
                  dot_bytes(rows.z, x, sums.z), dot_bytes(rows.w, x, sums.w));
}

// The sums of four rows over a block.
int4 block_sums(const int4* words, __global const int* x) {
    int4 sums = (int4)(0);
#pragma unroll
    for (int g = 0; g < GROUPS; g += 2) {
        const int2 low = *(__global const int2*)(x + g);
#if BITS == 8
        sums = dot_bytes4(words[g], low.x, sums);
        sums = dot_bytes4(words[g + 1], low.y, sums);
#else
        const int2 high = *(__global const int2*)(x + GROUPS + g);
        sums = dot_bytes4(words[g] & 0x0f0f0f0f, low.x, sums);
        sums = dot_bytes4((words[g] >> 4) & 0x0f0f0f0f, high.x, sums);
        sums = dot_bytes4(words[g + 1] & 0x0f0f0f0f, low.y, sums);
        sums = dot_bytes4((words[g + 1] >> 4) & 0x0f0f0f0f, high.y, sums);
#endif
    }
    return sums;
}

// The sums of this item's parts of four rows, with q4 in steps of their factors.
float4 parts_of_rows(__global const uchar* tile, __global const int* x, int blocks, int quad,
                     int part) {
    float4 totals[EACH];
#pragma unroll
    for (int e = 0; e < EACH; ++e)
        totals[e] = (float4)(0.0f);
    for (int b = part; b < blocks; b += PARTS) {
        int4 words[EACH][GROUPS];
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
            const int mine = min(b + e * (PARTS / EACH), blocks - 1);
            __global const int4* groups =
                (__global const int4*)(tile + (size_t)mine * BLOCK_BYTES + 32) + quad;
#pragma unroll
            for (int g = 0; g < GROUPS; ++g)
                words[e][g] = groups[g * QUADS];
        }
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
            const int mine = b + e * (PARTS / EACH);
            if (mine >= blocks) break;
            __global const uchar* block = tile + (size_t)mine * BLOCK_BYTES;
            __global const int* activations = x + mine * BLOCK_INTS;
            const float4 sums = convert_float4(block_sums(words[e], activations));
            const float2 scaleAndSum = *(__global const float2*)(activations + BLOCK_INTS - 2);
#if BITS == 8
            const float4 rowScales = vloada_half4(quad, (__global const half*)block);
            totals[e] = mad(rowScales * scaleAndSum.x, sums, totals[e]);
#else
            // Whole steps of the row's factor, below 2^24: exact.
            const float4 rowScales = convert_float4(((__global const uchar4*)block)[quad]);
            const float4 middles = convert_float4(((__global const char4*)(block + TILE_ROWS))[quad]);
            const float4 steps = mad((middles - rowScales) * 8.0f, (float4)(scaleAndSum.y),
                                     rowScales * sums);
            totals[e] = mad((float4)(scaleAndSum.x), steps, totals[e]);
#endif
        }
    }
#pragma unroll
    for (int count = EACH / 2; count > 0; count /= 2)
#pragma unroll
        for (int e = 0; e < count; ++e)
            totals[e] += totals[e + count];
    return totals[0];
}

int tiles_in(int rows) {
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void matvec(
    __global const uchar* w0, __global const uchar* w1, __global const uchar* w2, int rows0, int rows1,
    int rows2, __global float* y0, __global float* y1, __global float* y2, int first0, int first1,
    int first2, int accumulate, int columns, __global const int* x) {
    __local float4 sums[LOCAL];
    const int item = (int)get_local_id(0);
    const int inTeam = item % TEAM;
    const int quad = inTeam % QUADS;
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES;
    int tile = (int)get_group_id(0) * (LOCAL / TEAM) + item / TEAM;
    __global const uchar* w = w0;
    __global float* y = y0 + first0;
    int rows = rows0;
    int add = accumulate & 1;
    if (tile >= tiles_in(rows0)) {
        tile -= tiles_in(rows0);
        w = w1;
        y = y1 + first1;
        rows = rows1;
        add = accumulate & 2;
        if (tile >= tiles_in(rows1)) {
            tile -= tiles_in(rows1);
            w = w2;
            y = y2 + first2;
            rows = rows2;
            add = accumulate & 4;
        }
    }
    const bool isThere = tile < tiles_in(rows);
    sums[item] = isThere ? parts_of_rows(w + tile * tileBytes, x, blocks, quad, inTeam / QUADS)
                         : (float4)(0.0f);
    for (int count = TEAM / 2; count >= QUADS; count /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (inTeam < count) sums[item] += sums[item + count];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (inTeam >= TILE_ROWS || !isThere) return;
    const int row = tile * TILE_ROWS + inTeam;
    if (row >= rows) return;
    float sum = ((__local const float*)(sums + item - inTeam))[inTeam];
#if BITS == 4
    sum *= ((__global const float*)(w + tiles_in(rows) * tileBytes))[row];
#endif
    y[row] = add ? y[row] + sum : sum;
}
