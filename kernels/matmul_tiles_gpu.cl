// y = x W^T or y += x W^T with quantised weights for many positions (prefill), for GPU-like devices.
//
//   w [rows, columns] (one piece of a matrix)
//   x [n, columns]
//   y [n, stride], written at columns first .. first + rows - 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/quant_format.h lays them out; with 4
// bits the factors of the 16 rows, pairs of f32, follow the blocks of their tile. BITS: 8 or 4.
// Work: a work-group of SIDE x SIDE items computes a tile of TILE = EACH SIDE rows and as many
// positions, each item EACH x EACH of them; DEPTH columns of both sides go through local memory, read
// by neighbouring items from neighbouring addresses. Global size: (SIDE ceil(rows / TILE),
// SIDE ceil(n / TILE)). SIDE 16 (256 items) or 8 (64 items), EACH 4 or 8: the device's limits and the
// host choose, and each sum is the same, bit for bit, with any.
// Moves each weight ceil(n / TILE) times and x ceil(rows / TILE) times; 2 n flops a weight.

#ifndef SIDE
#define SIDE 8
#endif
#ifndef EACH
#define EACH 4
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

#define TILE (EACH * SIDE)
#define DEPTH 16
#define PITCH (TILE + 1)  // keeps the transposed stores off one memory bank

// One weight: for loads that follow no pattern of the tiles.
float weight_at(__global const uchar* w, int columns, int row, int column) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    __global const uchar* tile =
        w + (size_t)(row / TILE_ROWS) * ((size_t)blocks * BLOCK_BYTES + FACTOR_BYTES);
    __global const uchar* block = tile + (size_t)(column / BLOCK_COLUMNS) * BLOCK_BYTES;
    const int lane = row % TILE_ROWS;
#if BITS == 8
    const int k = column % BLOCK_COLUMNS;
    const char q = as_char(block[32 + k / 4 * 64 + lane * 4 + k % 4]);
    return vload_half(lane, (__global const half*)block) * (float)q;
#else
    const int k = column % (BLOCK_COLUMNS / 2);
    const int pair = block[32 + k / 4 * 64 + lane * 4 + k % 4];
    const int q = column % BLOCK_COLUMNS < BLOCK_COLUMNS / 2 ? pair & 15 : pair >> 4;
    __global const float* factors =
        (__global const float*)(tile + (size_t)blocks * BLOCK_BYTES) + lane * 2;
    return factors[0] * (float)block[lane] * (float)q +
           factors[1] * (float)as_char(block[TILE_ROWS + lane]);
#endif
}

__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void matmul(
    __global const uchar* w, int rows, int columns, __global const float* x, int n,
    __global float* y, int stride, int first, int accumulate) {
    __local float weights[DEPTH * PITCH];      // [column][row]
    __local float activations[DEPTH * PITCH];  // [column][position]
    const int a = (int)get_local_id(0);
    const int b = (int)get_local_id(1);
    const int item = b * SIDE + a;
    const int row0 = (int)get_group_id(0) * TILE;
    const int token0 = (int)get_group_id(1) * TILE;
    float sums[EACH][EACH];
    for (int i = 0; i < EACH; ++i)
        for (int j = 0; j < EACH; ++j)
            sums[i][j] = 0.0f;
    for (int column0 = 0; column0 < columns; column0 += DEPTH) {
        for (int load = item; load < TILE * DEPTH; load += SIDE * SIDE) {
            const int column = column0 + load % DEPTH;
            const int line = load / DEPTH;
            const int place = load % DEPTH * PITCH + line;
            const bool inColumns = column < columns;
            weights[place] = inColumns && row0 + line < rows
                                 ? weight_at(w, columns, row0 + line, column)
                                 : 0.0f;
            activations[place] = inColumns && token0 + line < n
                                     ? x[(size_t)(token0 + line) * columns + column]
                                     : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < DEPTH; ++k) {
            float row[EACH];
            for (int i = 0; i < EACH; ++i)
                row[i] = weights[k * PITCH + a + i * SIDE];
            for (int j = 0; j < EACH; ++j) {
                const float activation = activations[k * PITCH + b + j * SIDE];
                for (int i = 0; i < EACH; ++i)
                    sums[i][j] = mad(row[i], activation, sums[i][j]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int j = 0; j < EACH; ++j) {
        const int token = token0 + b + j * SIDE;
        for (int i = 0; i < EACH; ++i) {
            const int row = row0 + a + i * SIDE;
            if (token >= n || row >= rows) continue;
            __global float* place = y + (size_t)token * stride + first + row;
            *place = accumulate ? *place + sums[i][j] : sums[i][j];
        }
    }
}
