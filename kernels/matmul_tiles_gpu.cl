// y = x W^T or y += x W^T with quantised weights for many positions (prefill), for GPU-like devices.
//
//   w [rows, columns] (one piece of a matrix)
//   x [n, columns], rounded by round_activations.cl
//   y [n, stride], written at columns first .. first + rows - 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/quant_format.h lays them out; with 4
// bits the factors of all rows, pairs of f32, follow the tiles. BITS: 8 or 4.
// The products of a block are summed exactly, as f32 that hold integers (below 2^24): that is what
// every device multiplies fast. The sums are then scaled and added up in f32.
// Work: a work-group of SIDE x SIDE items computes a tile of TILE = EACH SIDE rows and as many
// positions, each item EACH x EACH of them in registers (so all loops over those are unrolled); DEPTH
// columns of both sides go through local memory, read by neighbouring items from neighbouring
// addresses. Global size: (SIDE ceil(rows / TILE), SIDE ceil(n / TILE)). SIDE 16 (256 items) or 8 (64
// items), EACH 4 or 8: the device's limits and the host choose, and each sum is the same, bit for bit,
// with any.
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
#define BLOCK_INTS 10  // of x
#if BITS == 8
#define BLOCK_BYTES 544
#else
#define BLOCK_BYTES 288
#endif

#define TILE (EACH * SIDE)
#define DEPTH 16  // half a block of columns at a time
#define PITCH (TILE + 1)  // keeps the transposed stores off one memory bank

// Four signed bytes as column[0], column[PITCH], ...
void spread(int four, __local float* column) {
    const float4 values = convert_float4(as_char4(four));
    column[0] = values.x;
    column[PITCH] = values.y;
    column[2 * PITCH] = values.z;
    column[3 * PITCH] = values.w;
}

// Columns 4 group .. 4 group + 3 of one half of a block, lane `lane`.
int weights_of(__global const uchar* block, int lane, int half_, int group) {
    __global const int* groups = (__global const int*)(block + 32) + lane;
#if BITS == 8
    return groups[(half_ * 4 + group) * TILE_ROWS];
#else
    return (groups[group * TILE_ROWS] >> (4 * half_)) & 0x0f0f0f0f;
#endif
}

__kernel __attribute__((reqd_work_group_size(SIDE, SIDE, 1))) void matmul(
    __global const uchar* w, int rows, int columns, __global const int* x, int n,
    __global float* y, int stride, int first, int accumulate) {
    __local float weights[DEPTH * PITCH];      // [column][row]
    __local float activations[DEPTH * PITCH];  // [column][position]
    __local float rowScales[TILE];             // of the block, as those below
    __local float scales[TILE];
#if BITS == 4
    __local float rowMinima[TILE];
    __local float scaledSums[TILE];
#endif
    const int a = (int)get_local_id(0);
    const int b = (int)get_local_id(1);
    const int item = b * SIDE + a;
    const int row0 = (int)get_group_id(0) * TILE;
    const int token0 = (int)get_group_id(1) * TILE;
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES;
#if BITS == 4
    const int tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    __global const float* allFactors = (__global const float*)(w + tiles * tileBytes);
#endif
    float totals[EACH][EACH];
    float sums[EACH][EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i)
#pragma unroll
        for (int j = 0; j < EACH; ++j)
            totals[i][j] = 0.0f;
    for (int step = 0; step < 2 * blocks; ++step) {
        const int half_ = step % 2;
        for (int load = item; load < TILE * DEPTH / 4; load += SIDE * SIDE) {
            const int line = load % TILE;  // rows of a group are neighbours
            const int group = load / TILE;
            const int row = row0 + line;
            __global const uchar* block =
                w + row / TILE_ROWS * tileBytes + (size_t)(step / 2) * BLOCK_BYTES;
            spread(row < rows ? weights_of(block, row % TILE_ROWS, half_, group) : 0,
                   weights + 4 * group * PITCH + line);
        }
        for (int load = item; load < TILE * DEPTH / 4; load += SIDE * SIDE) {
            const int line = load / (DEPTH / 4);
            const int group = load % (DEPTH / 4);  // groups of a position are neighbours
            const int token = token0 + line;
            __global const int* rounded = x + ((size_t)token * blocks + step / 2) * BLOCK_INTS;
            spread(token < n ? rounded[half_ * 4 + group] : 0,
                   activations + 4 * group * PITCH + line);
        }
        for (int line = item; half_ == 0 && line < TILE; line += SIDE * SIDE) {
            const int row = row0 + line;
            const int token = token0 + line;
            const int lane = row % TILE_ROWS;
            __global const uchar* block =
                w + row / TILE_ROWS * tileBytes + (size_t)(step / 2) * BLOCK_BYTES;
            __global const float* factors = (__global const float*)(
                x + ((size_t)token * blocks + step / 2 + 1) * BLOCK_INTS - 2);
            scales[line] = token < n ? factors[0] : 0.0f;
#if BITS == 8
            rowScales[line] = row < rows ? vload_half(lane, (__global const half*)block) : 0.0f;
#else
            scaledSums[line] = token < n ? factors[1] : 0.0f;
            __global const float* rowFactors = allFactors + row * 2;
            rowScales[line] = row < rows ? rowFactors[0] * (float)block[lane] : 0.0f;
            rowMinima[line] =
                row < rows ? rowFactors[1] * (float)as_char(block[TILE_ROWS + lane]) : 0.0f;
#endif
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (half_ == 0) {
#pragma unroll
            for (int i = 0; i < EACH; ++i)
#pragma unroll
                for (int j = 0; j < EACH; ++j)
                    sums[i][j] = 0.0f;
        }
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
        if (half_ == 1) {
#pragma unroll
            for (int j = 0; j < EACH; ++j)
#pragma unroll
                for (int i = 0; i < EACH; ++i) {
                    const int line = a + i * SIDE;
                    const int position = b + j * SIDE;
                    totals[i][j] =
                        mad(rowScales[line] * scales[position], sums[i][j], totals[i][j]);
#if BITS == 4
                    totals[i][j] = mad(rowMinima[line], scaledSums[position], totals[i][j]);
#endif
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
            *place = accumulate ? *place + totals[i][j] : totals[i][j];
        }
    }
}
