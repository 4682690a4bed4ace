// y = x W^T or y += x W^T for many positions (prefill), for GPU-like devices.
//
//   w [rows, columns], row-major (one piece of a matrix)
//   x [n, columns]
//   y [n, stride], written at columns first .. first + rows - 1
//
// Work: a work-group of SIDE x SIDE items computes a tile of TILE = EACH SIDE rows and as many
// positions, each item EACH x EACH of them in registers (so all loops over those are unrolled); DEPTH
// columns of both sides go through local memory, read by neighbouring items from neighbouring
// addresses. Global size: (SIDE ceil(rows / TILE), SIDE ceil(n / TILE)). SIDE 16 (256 items) or 8 (64
// items), EACH 4 or 8: the device's limits and the host choose, and each sum is the same, bit for bit,
// with any.
// WEIGHT: 16 half, 17 bfloat16, 32 float.
// Moves each weight ceil(n / TILE) times and x ceil(rows / TILE) times; 2 n flops a weight.

#ifndef SIDE
#define SIDE 8
#endif
#ifndef EACH
#define EACH 4
#endif
#ifndef WEIGHT
#define WEIGHT 16
#endif

#if WEIGHT == 16
typedef half Weight;
#define LOAD_WEIGHT(i, p) vload_half((i), (p))
#elif WEIGHT == 17
typedef ushort Weight;
#define LOAD_WEIGHT(i, p) as_float((uint)(p)[i] << 16)
#else
typedef float Weight;
#define LOAD_WEIGHT(i, p) (p)[i]
#endif

#define TILE (EACH * SIDE)
#define DEPTH 16
#define PITCH (TILE + 1)  // keeps the transposed stores off one memory bank

__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void matmul(
    __global const Weight* w, int rows, int columns, __global const float* x, int n,
    __global float* y, int stride, int first, int accumulate) {
    __local float weights[DEPTH * PITCH];      // [column][row]
    __local float activations[DEPTH * PITCH];  // [column][position]
    const int a = (int)get_local_id(0);
    const int b = (int)get_local_id(1);
    const int item = b * SIDE + a;
    const int row0 = (int)get_group_id(0) * TILE;
    const int token0 = (int)get_group_id(1) * TILE;
    float sums[EACH][EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i)
#pragma unroll
        for (int j = 0; j < EACH; ++j)
            sums[i][j] = 0.0f;
    for (int column0 = 0; column0 < columns; column0 += DEPTH) {
        for (int load = item; load < TILE * DEPTH; load += SIDE * SIDE) {
            const int column = column0 + load % DEPTH;
            const int line = load / DEPTH;
            const int place = load % DEPTH * PITCH + line;
            const bool inColumns = column < columns;
            weights[place] = inColumns && row0 + line < rows
                                 ? LOAD_WEIGHT((size_t)(row0 + line) * columns + column, w)
                                 : 0.0f;
            activations[place] = inColumns && token0 + line < n
                                     ? x[(size_t)(token0 + line) * columns + column]
                                     : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < DEPTH; ++k) {
            float row[EACH];
#pragma unroll
            for (int i = 0; i < EACH; ++i)
                row[i] = weights[k * PITCH + a + i * SIDE];
#pragma unroll
            for (int j = 0; j < EACH; ++j) {
                const float activation = activations[k * PITCH + b + j * SIDE];
#pragma unroll
                for (int i = 0; i < EACH; ++i)
                    sums[i][j] = mad(row[i], activation, sums[i][j]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#pragma unroll
    for (int j = 0; j < EACH; ++j) {
        const int token = token0 + b + j * SIDE;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const int row = row0 + a + i * SIDE;
            if (token >= n || row >= rows) continue;
            __global float* place = y + (size_t)token * stride + first + row;
            *place = accumulate ? *place + sums[i][j] : sums[i][j];
        }
    }
}
