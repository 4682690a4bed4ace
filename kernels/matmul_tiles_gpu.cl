// y = x W^T or y += x W^T with quantised weights for many positions (prefill), for GPU-like devices.
//
//   w [rows, columns] (one piece of a matrix)
//   x [n, columns], rounded by round_activations.cl
//   y [n, stride], written at columns first .. first + rows - 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/block_format.h lays them out; with 4
// bits the factors of all rows, an f32 each, follow the tiles. BITS: 8 or 4.
// The products of a block are summed exactly: as integers, four products at a time, where the device has
// an instruction for that, else as f32 that hold integers (below 2^24), which every device multiplies
// fast. The sums are then scaled and added up in f32.
// Work: a work-group of SIDE x SIDE items computes a tile of EACH SIDE rows and TOKENS SIDE positions,
// each item EACH x TOKENS of them in registers (so all loops over those are unrolled), in fours that
// neighbouring items read from neighbouring addresses. A block of both sides goes through local memory
// while the next one is under way to registers. Global size:
// (SIDE ceil(rows / (EACH SIDE)), SIDE ceil(n / (TOKENS SIDE))). SIDE 8 (64 items), or 4 on
// devices without room for that, EACH and TOKENS 4 or 8, EACH SIDE a multiple of 16: the device's limits
// and the host choose, and each sum is the same, bit for bit, with any.
// Moves each weight ceil(n / (TOKENS SIDE)) times and x ceil(rows / (EACH SIDE)) times; 2 n flops a weight.

#include "dot_bytes_gpu.clh"

#ifndef SIDE
#define SIDE 8
#endif
#ifndef EACH
#define EACH 4
#endif
#ifndef TOKENS
#define TOKENS 4
#endif
#ifndef BITS
#define BITS 8
#endif

#define TILE_ROWS 16
#define BLOCK_COLUMNS 32
#define BLOCK_INTS 10  // of x
#define GROUPS 8       // of four columns, in a block
#if BITS == 8
#define BLOCK_BYTES 544
#define STORED_GROUPS 8
#else
#define BLOCK_BYTES 288
#define STORED_GROUPS 4  // each holds two
#endif

// `words` of four rows or positions hold four columns of each: what MULTIPLY takes of them in STEPS steps.
#ifdef DOT_BYTES
#define STEPS 1
#define COLUMNS(words, step) (words)
#define MULTIPLY(a, b, sum) dot_bytes((a), (b), (sum))
#define FLOATS(sums) convert_float4(sums)
typedef int Sum;
typedef int4 Sums;
#else
#define STEPS 4
#define COLUMNS(words, step) convert_float4((words) << (24 - 8 * (step)) >> 24)
#define MULTIPLY(a, b, sum) mad((a), (b), (sum))
#define FLOATS(sums) (sums)
typedef float Sum;
typedef float4 Sums;
#endif

#define ITEMS (SIDE * SIDE)
#define ROW_TILE (EACH * SIDE)
#define TOKEN_TILE (TOKENS * SIDE)
#define ROW_PITCH (ROW_TILE + 16)  // multiples of 4 that spread the stores over the banks
#define TOKEN_PITCH (TOKEN_TILE + 4)
#define ROW_WORDS (ROW_TILE / 4 * STORED_GROUPS)  // int4: of four rows
#define ROW_LOADS ((ROW_WORDS + ITEMS - 1) / ITEMS)
#define TOKEN_WORDS (TOKEN_TILE * GROUPS / 2)  // int2: of two groups
#define TOKEN_LOADS ((TOKEN_WORDS + ITEMS - 1) / ITEMS)
#define LINES (ROW_TILE > TOKEN_TILE ? ROW_TILE : TOKEN_TILE)
#define LINE_LOADS ((LINES + ITEMS - 1) / ITEMS)

Sums multiply4(Sums rows, Sum x, Sums sums) {
    return (Sums)(MULTIPLY(rows.x, x, sums.x), MULTIPLY(rows.y, x, sums.y),
                  MULTIPLY(rows.z, x, sums.z), MULTIPLY(rows.w, x, sums.w));
}

__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void matmul(
    __global const uchar* w, int rows, int columns, __global const int* x, int n,
    __global float* y, int stride, int first, int accumulate) {
    __local int4 weights[GROUPS * ROW_PITCH / 4];        // [group][row]
    __local int4 activations[GROUPS * TOKEN_PITCH / 4];  // [group][position]
    __local float4 rowScales[ROW_TILE / 4];              // of the block, as those below
    __local float4 scales[TOKEN_TILE / 4];
#if BITS == 4
    __local float4 rowLeast[ROW_TILE / 4];  // 8 times what the middle is more than rowScales
    __local float4 tokenSums[TOKEN_TILE / 4];
#endif
    const int a = (int)get_local_id(0);
    const int b = (int)get_local_id(1);
    const int item = b * SIDE + a;
    const int row0 = (int)get_group_id(0) * ROW_TILE;
    const int token0 = (int)get_group_id(1) * TOKEN_TILE;
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES;
    const int lastRow = (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS - 1;  // stored as zeros
    float4 totals[TOKENS][EACH / 4];
#pragma unroll
    for (int j = 0; j < TOKENS; ++j)
#pragma unroll
        for (int i = 0; i < EACH / 4; ++i)
            totals[j][i] = (float4)(0.0f);
    int4 nextWeights[ROW_LOADS];
    int2 nextActivations[TOKEN_LOADS];
    float2 nextFactors[LINE_LOADS];  // of a position: scale and sum
#if BITS == 8
    ushort nextScale[LINE_LOADS];  // of a row, as it lies in memory: not converted on its way
#else
    uchar nextScale[LINE_LOADS];
    char nextMiddle[LINE_LOADS];
#endif
    for (int block = 0; block <= blocks; ++block) {
        // Into local memory what was read the time before.
        if (block > 0) {
            barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
            for (int l = 0; l < ROW_LOADS; ++l) {
                const int load = item + l * ITEMS;
                if (load >= ROW_WORDS) break;
                __local int4* place = weights + load / 4 % STORED_GROUPS * (ROW_PITCH / 4) +
                                      load / (4 * STORED_GROUPS) * 4 + load % 4;
#if BITS == 8
                place[0] = nextWeights[l];
#else
                place[0] = nextWeights[l] & 0x0f0f0f0f;
                place[STORED_GROUPS * (ROW_PITCH / 4)] = (nextWeights[l] >> 4) & 0x0f0f0f0f;
#endif
            }
#pragma unroll
            for (int l = 0; l < TOKEN_LOADS; ++l) {
                const int load = item + l * ITEMS;
                if (load >= TOKEN_WORDS) break;
                __local int* place = (__local int*)activations +
                                     load % (GROUPS / 2) * 2 * TOKEN_PITCH + load / (GROUPS / 2);
                place[0] = nextActivations[l].x;
                place[TOKEN_PITCH] = nextActivations[l].y;
            }
#pragma unroll
            for (int l = 0; l < LINE_LOADS; ++l) {
                const int line = item + l * ITEMS;
                if (line < TOKEN_TILE) ((__local float*)scales)[line] = nextFactors[l].x;
#if BITS == 8
                if (line < ROW_TILE)
                    ((__local float*)rowScales)[line] = vload_half(0, (const half*)&nextScale[l]);
#else
                if (line < TOKEN_TILE)
                    ((__local float*)tokenSums)[line] = nextFactors[l].y;
                if (line < ROW_TILE) {
                    ((__local float*)rowScales)[line] = (float)nextScale[l];
                    ((__local float*)rowLeast)[line] =
                        (float)(8 * (nextMiddle[l] - nextScale[l]));
                }
#endif
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        if (block < blocks) {
#pragma unroll
            for (int l = 0; l < ROW_LOADS; ++l) {
                const int load = item + l * ITEMS;
                const int row = min(row0 + load / (4 * STORED_GROUPS) * TILE_ROWS, lastRow);
                nextWeights[l] = ((__global const int4*)(w + row / TILE_ROWS * tileBytes +
                                                         (size_t)block * BLOCK_BYTES +
                                                         32))[load % (4 * STORED_GROUPS)];
            }
#pragma unroll
            for (int l = 0; l < TOKEN_LOADS; ++l) {
                const int load = item + l * ITEMS;
                const int token = min(token0 + load / (GROUPS / 2), n - 1);  // not stored beyond
                nextActivations[l] = ((__global const int2*)(x + ((size_t)token * blocks + block) *
                                                                     BLOCK_INTS))[load %
                                                                                  (GROUPS / 2)];
            }
#pragma unroll
            for (int l = 0; l < LINE_LOADS; ++l) {
                const int line = item + l * ITEMS;
                const int row = min(row0 + line, lastRow);
                const int lane = row % TILE_ROWS;
                const int token = min(token0 + line, n - 1);
                __global const uchar* mine =
                    w + row / TILE_ROWS * tileBytes + (size_t)block * BLOCK_BYTES;
                nextFactors[l] = *(__global const float2*)(x + ((size_t)token * blocks + block + 1) *
                                                                   BLOCK_INTS -
                                                           2);
#if BITS == 8
                nextScale[l] = ((__global const ushort*)mine)[lane];
#else
                nextScale[l] = mine[lane];
                nextMiddle[l] = as_char(mine[TILE_ROWS + lane]);
#endif
            }
        }
        if (block == 0) continue;
        Sums sums[TOKENS][EACH / 4];
#pragma unroll
        for (int j = 0; j < TOKENS; ++j)
#pragma unroll
            for (int i = 0; i < EACH / 4; ++i)
                sums[j][i] = (Sums)(0);
#pragma unroll 8
        for (int k = 0; k < GROUPS * STEPS; ++k) {
            const int group = k / STEPS;
            Sums row[EACH / 4];
#pragma unroll
            for (int i = 0; i < EACH / 4; ++i)
                row[i] = COLUMNS(weights[group * (ROW_PITCH / 4) + i * SIDE + a], k % STEPS);
#pragma unroll
            for (int j = 0; j < TOKENS; j += 4) {
                const Sums four = COLUMNS(
                    activations[group * (TOKEN_PITCH / 4) + j / 4 * SIDE + b], k % STEPS);
#pragma unroll
                for (int i = 0; i < EACH / 4; ++i) {
                    sums[j][i] = multiply4(row[i], four.x, sums[j][i]);
                    sums[j + 1][i] = multiply4(row[i], four.y, sums[j + 1][i]);
                    sums[j + 2][i] = multiply4(row[i], four.z, sums[j + 2][i]);
                    sums[j + 3][i] = multiply4(row[i], four.w, sums[j + 3][i]);
                }
            }
        }
#pragma unroll
        for (int j = 0; j < TOKENS; ++j) {
            const int position = (j / 4 * SIDE + b) * 4 + j % 4;
            const float scale = ((__local const float*)scales)[position];
#if BITS == 4
            const float sum = ((__local const float*)tokenSums)[position];
#endif
#pragma unroll
            for (int i = 0; i < EACH / 4; ++i) {
                const float4 scales4 = rowScales[i * SIDE + a];
                const float4 products = FLOATS(sums[j][i]);
#if BITS == 8
                totals[j][i] = mad(scales4 * scale, products, totals[j][i]);
#else
                // Whole steps of the row's factor, below 2^24: exact.
                const float4 steps =
                    mad(rowLeast[i * SIDE + a], (float4)(sum), scales4 * products);
                totals[j][i] = mad((float4)(scale), steps, totals[j][i]);
#endif
            }
        }
    }
#if BITS == 4
    __global const float* factors =
        (__global const float*)(w + (lastRow + 1) / TILE_ROWS * tileBytes);
#pragma unroll
    for (int i = 0; i < EACH / 4; ++i) {
        const int row = min(row0 + (i * SIDE + a) * 4, lastRow - 3);
        const float4 four = vload4(0, factors + row);
#pragma unroll
        for (int j = 0; j < TOKENS; ++j)
            totals[j][i] *= four;
    }
#endif
#pragma unroll
    for (int j = 0; j < TOKENS; ++j) {
        const int token = token0 + (j / 4 * SIDE + b) * 4 + j % 4;
        if (token >= n) continue;
#pragma unroll
        for (int i = 0; i < EACH / 4; ++i) {
            const int row = row0 + (i * SIDE + a) * 4;
            const float four[4] = {totals[j][i].x, totals[j][i].y, totals[j][i].z, totals[j][i].w};
            __global float* place = y + (size_t)token * stride + first + row;
#pragma unroll
            for (int c = 0; c < 4; ++c)
                if (row + c < rows) place[c] = accumulate ? place[c] + four[c] : four[c];
        }
    }
}
