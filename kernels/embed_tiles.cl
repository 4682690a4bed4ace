// Rows of a quantised embedding table, as f32.
//
//   table  [rows, columns], rows [firstRow, firstRow + rows) of the whole table (one piece of it)
//   tokens [n]; those outside the piece are left to the launch for theirs
//   x      [n, columns]
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/block_format.h lays them out; with 4
// bits the factors of all rows, an f32 each, follow the tiles. BITS: 8 or 4.
// Work: one item an element, global size (columns, n); no local memory, any work-group size.

#ifndef BITS
#define BITS 8
#endif

#define TILE_ROWS 16
#define BLOCK_COLUMNS 32
#if BITS == 8
#define BLOCK_BYTES 544
#else
#define BLOCK_BYTES 288
#endif

// One weight: for loads that follow no pattern of the tiles.
float weight_at(__global const uchar* w, int rows, int columns, int row, int column) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    const size_t tileBytes = (size_t)blocks * BLOCK_BYTES;
    __global const uchar* block =
        w + row / TILE_ROWS * tileBytes + (size_t)(column / BLOCK_COLUMNS) * BLOCK_BYTES;
    const int lane = row % TILE_ROWS;
#if BITS == 8
    const int k = column % BLOCK_COLUMNS;
    const char q = as_char(block[32 + k / 4 * 64 + lane * 4 + k % 4]);
    return vload_half(lane, (__global const half*)block) * (float)q;
#else
    const int k = column % (BLOCK_COLUMNS / 2);
    const int pair = block[32 + k / 4 * 64 + lane * 4 + k % 4];
    const int q = column % BLOCK_COLUMNS < BLOCK_COLUMNS / 2 ? pair & 15 : pair >> 4;
    const int tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    __global const float* factors = (__global const float*)(w + tiles * tileBytes);
    return factors[row] * (float)(block[lane] * (q - 8) + 8 * as_char(block[TILE_ROWS + lane]));
#endif
}

__kernel void embed(__global const uchar* table, int firstRow, int rows, int columns,
                    __global const int* tokens, __global float* x) {
    const int column = (int)get_global_id(0);
    const int i = (int)get_global_id(1);
    const int row = tokens[i] - firstRow;
    if (column >= columns || row < 0 || row >= rows) return;
    x[(size_t)i * columns + column] = weight_at(table, rows, columns, row, column);
}
