// y = W x or y += W x for up to three quantised matrices that share x (decode), for GPU-like devices.
//
//   w0, w1, w2 [rowsN, columns]; rows 0 where there is none
//   x          [columns]
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/quant_format.h lays them out; with 4
// bits the factors of the 16 rows, pairs of f32, follow the blocks of their tile. BITS: 8 or 4.
// Work: a work-group of LOCAL items is made of teams of TEAM items (32 or 64); a team takes a tile, an
// item one of its 16 rows in every (TEAM / 16)th block: 16 items read 64 neighbouring bytes. The parts
// of a row are added in local memory. Global size: LOCAL * ceil(tiles / (LOCAL / TEAM)). A row's sum
// depends on TEAM, not on LOCAL.
// Moves every block once; 2 flops a weight.

#ifndef LOCAL
#define LOCAL 64
#define TEAM 32
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

#define PARTS (TEAM / TILE_ROWS)

// This item's part of the sum of row `lane`.
float part_of_row(__global const uchar* tile, __global const float* x, int columns, int lane,
                  int part) {
    const int blocks = (columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    float total = 0.0f;
#if BITS == 4
    float offset = 0.0f;
#endif
    for (int b = part; b < blocks; b += PARTS) {
        __global const uchar* block = tile + (size_t)b * BLOCK_BYTES;
        __global const uchar* bytes = block + 32 + lane * 4;
        __global const float* activations = x + b * BLOCK_COLUMNS;
        const int count = min(BLOCK_COLUMNS, columns - b * BLOCK_COLUMNS);
        float sum = 0.0f;
#if BITS == 4
        float all = 0.0f;
#endif
        for (int k = 0; k < count; ++k) {
#if BITS == 8
            const float q = (float)as_char(bytes[k / 4 * 64 + k % 4]);
#else
            const int half_ = k % (BLOCK_COLUMNS / 2);
            const int pair = bytes[half_ / 4 * 64 + half_ % 4];
            const float q = (float)(k < BLOCK_COLUMNS / 2 ? pair & 15 : pair >> 4);
            all += activations[k];
#endif
            sum = mad(q, activations[k], sum);
        }
#if BITS == 8
        total = mad(sum, vload_half(lane, (__global const half*)block), total);
#else
        total = mad(sum, (float)block[lane], total);
        offset = mad(all, (float)as_char(block[TILE_ROWS + lane]), offset);
#endif
    }
#if BITS == 4
    __global const float* factors =
        (__global const float*)(tile + (size_t)blocks * BLOCK_BYTES) + lane * 2;
    total = total * factors[0] + offset * factors[1];
#endif
    return total;
}

int tiles_in(int rows) {
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void matvec(
    __global const uchar* w0, __global const uchar* w1, __global const uchar* w2, int rows0, int rows1,
    int rows2, __global float* y0, __global float* y1, __global float* y2, int first0, int first1,
    int first2, int accumulate, int columns, __global const float* x) {
    __local float sums[LOCAL];
    const int item = (int)get_local_id(0);
    const int inTeam = item % TEAM;
    const int lane = inTeam % TILE_ROWS;
    const size_t tileBytes =
        (size_t)((columns + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS) * BLOCK_BYTES + FACTOR_BYTES;
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
    sums[item] =
        isThere ? part_of_row(w + tile * tileBytes, x, columns, lane, inTeam / TILE_ROWS) : 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
    const int row = tile * TILE_ROWS + lane;
    if (inTeam >= TILE_ROWS || !isThere || row >= rows) return;
    float sum = sums[item];
    for (int part = 1; part < PARTS; ++part)
        sum += sums[item + part * TILE_ROWS];
    y[row] = add ? y[row] + sum : sum;
}
