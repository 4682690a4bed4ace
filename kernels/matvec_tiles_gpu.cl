// y = W x or y += W x for up to three quantised matrices that share x (decode), for GPU-like devices.
//
//   w0, w1, w2 [rowsN, columns]; rows 0 where there is none
//   x          [columns], rounded by round_activations.cl
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Tiles of 16 rows and blocks of 32 columns, as engine/quant/quant_format.h lays them out; with 4
// bits the factors of all rows, pairs of f32, follow the tiles. BITS: 8 or 4.
// The products of a block are summed exactly in integers, then scaled and added up in f32.
// Work: a work-group of LOCAL items is made of teams of TEAM items (32 or 64); a team takes a tile, an
// item one of its 16 rows in every (TEAM / 16)th block: 16 items read 64 neighbouring bytes. The parts
// of a row are added in local memory. Global size: LOCAL * ceil(tiles / (LOCAL / TEAM)). A row's sum
// depends on TEAM, not on LOCAL.
// Moves every block once; 2 integer operations a weight.

#ifndef LOCAL
#define LOCAL 64
#define TEAM 32
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

#define PARTS (TEAM / TILE_ROWS)

// The sum of four products of signed bytes.
int four_products(int a, int b) {
    const int4 products = convert_int4(as_char4(a)) * convert_int4(as_char4(b));
    return (products.x + products.y) + (products.z + products.w);
}

// The sum of row `lane` over a block.
int block_sum(__global const uchar* block, int lane, __global const int* x) {
    __global const int* groups = (__global const int*)(block + 32) + lane;
    int sum = 0;
#if BITS == 8
#pragma unroll
    for (int g = 0; g < 8; ++g)
        sum += four_products(groups[g * TILE_ROWS], x[g]);
#else
#pragma unroll
    for (int g = 0; g < 4; ++g) {
        const int eight = groups[g * TILE_ROWS];
        sum += four_products(eight & 0x0f0f0f0f, x[g]);
        sum += four_products((eight >> 4) & 0x0f0f0f0f, x[g + 4]);
    }
#endif
    return sum;
}

// This item's part of the sum of row `lane`, whose factors (q4) are given.
float part_of_row(__global const uchar* tile, __global const float* factors, __global const int* x,
                  int blocks, int lane, int part) {
    float total = 0.0f;
#if BITS == 4
    float offset = 0.0f;
#endif
    for (int b = part; b < blocks; b += PARTS) {
        __global const uchar* block = tile + (size_t)b * BLOCK_BYTES;
        __global const int* activations = x + b * BLOCK_INTS;
        const float sum = (float)block_sum(block, lane, activations);
        const float scale = as_float(activations[BLOCK_INTS - 2]);
#if BITS == 8
        total = mad(vload_half(lane, (__global const half*)block) * scale, sum, total);
#else
        const float scaledSum = as_float(activations[BLOCK_INTS - 1]);
        total = mad((float)block[lane] * scale, sum, total);
        offset = mad((float)as_char(block[TILE_ROWS + lane]), scaledSum, offset);
#endif
    }
#if BITS == 4
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
    int first2, int accumulate, int columns, __global const int* x) {
    __local float sums[LOCAL];
    const int item = (int)get_local_id(0);
    const int inTeam = item % TEAM;
    const int lane = inTeam % TILE_ROWS;
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
    const int row = tile * TILE_ROWS + lane;
    __global const float* factors =
        (__global const float*)(w + tiles_in(rows) * tileBytes) + row * 2;
    sums[item] = isThere ? part_of_row(w + tile * tileBytes, factors, x, blocks, lane,
                                       inTeam / TILE_ROWS)
                         : 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (inTeam >= TILE_ROWS || !isThere || row >= rows) return;
    float sum = sums[item];
    for (int part = 1; part < PARTS; ++part)
        sum += sums[item + part * TILE_ROWS];
    y[row] = add ? y[row] + sum : sum;
}
