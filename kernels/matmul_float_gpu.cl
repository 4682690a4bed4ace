// y = x W^T or y += x W^T for many positions (prefill), for GPU-like devices.
//
//   w [rows, columns], row-major (one piece of a matrix)
//   x [n, columns]
//   y [n, stride], written at columns first .. first + rows - 1
//
// Work: a work-group of SIDE x SIDE items computes a tile of EACH SIDE rows and TOKENS SIDE positions,
// each item EACH x TOKENS of them in registers (so all loops over those are unrolled), in fours that
// neighbouring items read from neighbouring addresses. DEPTH columns of both sides go through local
// memory while the next ones are under way to registers. Global size:
// (SIDE ceil(rows / (EACH SIDE)), SIDE ceil(n / (TOKENS SIDE))). SIDE 16 (256 items), 8 or 4, EACH
// and TOKENS 4 or 8: the device's limits and the host choose, and each sum is the same, bit for bit, with
// any. w and x must begin at multiples of 16 bytes.
// WEIGHT: 16 half, 17 bfloat16, 32 float.
// Moves each weight ceil(n / (TOKENS SIDE)) times and x ceil(rows / (EACH SIDE)) times; 2 n flops a weight.

#ifndef SIDE
#define SIDE 8
#endif
#ifndef EACH
#define EACH 4
#endif
#ifndef TOKENS
#define TOKENS 4
#endif
#ifndef WEIGHT
#define WEIGHT 16
#endif

// Weights as they lie in memory: what is under way to registers must not be converted there yet.
#if WEIGHT == 32
typedef uint Bits;
typedef uint4 Four;
#else
typedef ushort Bits;
typedef ushort4 Four;
#endif

float4 floats_of(Four bits) {
#if WEIGHT == 16
    return vload_half4(0, (const half*)&bits);
#elif WEIGHT == 17
    return as_float4(convert_uint4(bits) << 16);
#else
    return as_float4(bits);
#endif
}

#define DEPTH 16
#define FOURS (DEPTH / 4)
#define ITEMS (SIDE * SIDE)
#define ROW_TILE (EACH * SIDE)
#define TOKEN_TILE (TOKENS * SIDE)
#define ROW_PITCH (ROW_TILE + 4)  // a multiple of 4 that spreads the transposed stores over the banks
#define TOKEN_PITCH (TOKEN_TILE + 4)
#define ROW_LOADS (ROW_TILE * FOURS / ITEMS)  // fours of an item
#define TOKEN_LOADS (TOKEN_TILE * FOURS / ITEMS)

// Columns column .. column + 3 of a line, 0 where there are none.
Four four_weights(__global const Bits* line, int column, int columns) {
    if (columns % 4 == 0)
        return column < columns ? *(__global const Four*)(line + column) : (Four)(0);
    return (Four)(column < columns ? line[column] : 0, column + 1 < columns ? line[column + 1] : 0,
                  column + 2 < columns ? line[column + 2] : 0,
                  column + 3 < columns ? line[column + 3] : 0);
}

float4 four_activations(__global const float* line, int column, int columns) {
    if (columns % 4 == 0)
        return column < columns ? *(__global const float4*)(line + column) : (float4)(0.0f);
    return (float4)(column < columns ? line[column] : 0.0f,
                    column + 1 < columns ? line[column + 1] : 0.0f,
                    column + 2 < columns ? line[column + 2] : 0.0f,
                    column + 3 < columns ? line[column + 3] : 0.0f);
}

void store_column(float4 four, __local float* place, int pitch) {
    place[0] = four.x;
    place[pitch] = four.y;
    place[2 * pitch] = four.z;
    place[3 * pitch] = four.w;
}

__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void matmul(
    __global const Bits* w, int rows, int columns, __global const float* x, int n,
    __global float* y, int stride, int first, int accumulate) {
    __local float4 weights[DEPTH * ROW_PITCH / 4];        // [column][row]
    __local float4 activations[DEPTH * TOKEN_PITCH / 4];  // [column][position]
    const int a = (int)get_local_id(0);
    const int b = (int)get_local_id(1);
    const int item = b * SIDE + a;
    const int row0 = (int)get_group_id(0) * ROW_TILE;
    const int token0 = (int)get_group_id(1) * TOKEN_TILE;
    float4 sums[TOKENS][EACH / 4];
#pragma unroll
    for (int j = 0; j < TOKENS; ++j)
#pragma unroll
        for (int i = 0; i < EACH / 4; ++i)
            sums[j][i] = (float4)(0.0f);
    Four nextWeights[ROW_LOADS];
    float4 nextActivations[TOKEN_LOADS];
    for (int column0 = 0; column0 < columns + DEPTH; column0 += DEPTH) {
        // Into local memory what was read the time before.
        if (column0 > 0) {
            barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
            for (int l = 0; l < ROW_LOADS; ++l) {
                const int load = item + l * ITEMS;
                store_column(floats_of(nextWeights[l]),
                             (__local float*)weights + load % FOURS * 4 * ROW_PITCH + load / FOURS,
                             ROW_PITCH);
            }
#pragma unroll
            for (int l = 0; l < TOKEN_LOADS; ++l) {
                const int load = item + l * ITEMS;
                store_column(
                    nextActivations[l],
                    (__local float*)activations + load % FOURS * 4 * TOKEN_PITCH + load / FOURS,
                    TOKEN_PITCH);
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        if (column0 < columns) {
#pragma unroll
            for (int l = 0; l < ROW_LOADS; ++l) {
                const int load = item + l * ITEMS;
                const int row = min(row0 + load / FOURS, rows - 1);  // not stored beyond
                nextWeights[l] = four_weights(w + (size_t)row * columns,
                                              column0 + load % FOURS * 4, columns);
            }
#pragma unroll
            for (int l = 0; l < TOKEN_LOADS; ++l) {
                const int load = item + l * ITEMS;
                const int token = min(token0 + load / FOURS, n - 1);
                nextActivations[l] = four_activations(x + (size_t)token * columns,
                                                      column0 + load % FOURS * 4, columns);
            }
        }
        if (column0 == 0) continue;
#pragma unroll 4
        for (int k = 0; k < DEPTH; ++k) {
            float4 row[EACH / 4];
#pragma unroll
            for (int i = 0; i < EACH / 4; ++i)
                row[i] = weights[k * (ROW_PITCH / 4) + i * SIDE + a];
#pragma unroll
            for (int j = 0; j < TOKENS; j += 4) {
                const float4 four = activations[k * (TOKEN_PITCH / 4) + j / 4 * SIDE + b];
#pragma unroll
                for (int i = 0; i < EACH / 4; ++i) {
                    sums[j][i] = mad(row[i], (float4)(four.x), sums[j][i]);
                    sums[j + 1][i] = mad(row[i], (float4)(four.y), sums[j + 1][i]);
                    sums[j + 2][i] = mad(row[i], (float4)(four.z), sums[j + 2][i]);
                    sums[j + 3][i] = mad(row[i], (float4)(four.w), sums[j + 3][i]);
                }
            }
        }
    }
#pragma unroll
    for (int j = 0; j < TOKENS; ++j) {
        const int token = token0 + (j / 4 * SIDE + b) * 4 + j % 4;
        if (token >= n) continue;
#pragma unroll
        for (int i = 0; i < EACH / 4; ++i) {
            const int row = row0 + (i * SIDE + a) * 4;
            const float four[4] = {sums[j][i].x, sums[j][i].y, sums[j][i].z, sums[j][i].w};
            __global float* place = y + (size_t)token * stride + first + row;
#pragma unroll
            for (int c = 0; c < 4; ++c)
                if (row + c < rows) place[c] = accumulate ? place[c] + four[c] : four[c];
        }
    }
}
