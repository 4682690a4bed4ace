// y = W x or y += W x for up to three matrices that share x (decode), for GPU-like devices.
//
//   w0, w1, w2 [rowsN, columns], row-major; rows 0 where there is none
//   x          [columns]
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Work: a work-group of LOCAL items is made of teams of TEAM items (a power of two); a team takes ROWS rows at a time, so that their loads are under way together and x is read
// once for them. Neighbouring items read neighbouring eights of weights (16 bytes of a half, in one
// load), so that a team reads whole lines, and an item AHEAD eights of each row before it multiplies;
// rows that are not made of eights, which would not be aligned, are read a weight at a time. The sums of a team are reduced in local memory. Global size:
// LOCAL * ceil(rows / (ROWS * LOCAL / TEAM)). A row's sum depends on TEAM, not on LOCAL and ROWS.
// w and x must begin at multiples of 16 bytes.
// WEIGHT: 16 half, 17 bfloat16, 32 float.
// Moves rows * columns weights once; 2 flops a weight.

#ifndef LOCAL
#define LOCAL 64
#define TEAM 32
#endif
#ifndef WEIGHT
#define WEIGHT 16
#endif
#ifndef ROWS
#define ROWS 2
#endif

#define AHEAD 4

#if WEIGHT == 16
typedef half Weight;
#define LOAD_WEIGHT(i, p) vload_half((i), (p))
typedef uint4 Eight;  // as they lie in memory
#define LOAD_EIGHT(p) (*(__global const uint4*)(p))
#define FLOATS_OF(eight) floats_of_halves(eight)
#elif WEIGHT == 17
typedef ushort Weight;
#define LOAD_WEIGHT(i, p) as_float((uint)(p)[i] << 16)
typedef uint4 Eight;
#define LOAD_EIGHT(p) (*(__global const uint4*)(p))
#define FLOATS_OF(eight) as_float8(convert_uint8(as_ushort8(eight)) << 16)
#else
typedef float Weight;
#define LOAD_WEIGHT(i, p) (p)[i]
typedef float8 Eight;
#define LOAD_EIGHT(p) LOAD_FLOATS(p)
#define FLOATS_OF(eight) (eight)
#endif

// Two loads of 16 bytes: vload8 may not count on more than the alignment of a float.
#define LOAD_FLOATS(p) (float8)(((__global const float4*)(p))[0], ((__global const float4*)(p))[1])

#if WEIGHT == 16
// Without an extension halves can only be loaded, here from registers.
float8 floats_of_halves(uint4 eight) {
    return vload_half8(0, (const half*)&eight);
}
#endif

float dot8(float8 a, float8 b) {
    return dot(a.lo, b.lo) + dot(a.hi, b.hi);
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void matvec(
    __global const Weight* w0, __global const Weight* w1, __global const Weight* w2, int rows0,
    int rows1, int rows2, __global float* y0, __global float* y1, __global float* y2, int first0,
    int first1, int first2, int accumulate, int columns, __global const float* x) {
    __local float sums[ROWS][LOCAL];
    const int item = (int)get_local_id(0);
    const int lane = item % TEAM;
    const int rows = rows0 + rows1 + rows2;
    const int first = ((int)get_group_id(0) * (LOCAL / TEAM) + item / TEAM) * ROWS;
    __global const Weight* starts[ROWS];
    float parts[ROWS];  // of this item
    for (int r = 0; r < ROWS; ++r) {
        const int row = min(first + r, rows - 1);  // beyond the last one that one again, not stored
        starts[r] = row < rows0           ? w0 + (size_t)row * columns
                    : row < rows0 + rows1 ? w1 + (size_t)(row - rows0) * columns
                                          : w2 + (size_t)(row - rows0 - rows1) * columns;
        parts[r] = 0.0f;
    }
    const int whole = columns % 8 == 0 ? columns : 0;
    for (int base = lane * 8; base < whole; base += AHEAD * TEAM * 8) {
        Eight weights[AHEAD][ROWS];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a)
#pragma unroll
            for (int r = 0; r < ROWS; ++r)
                weights[a][r] = LOAD_EIGHT(starts[r] + min(base + a * TEAM * 8, whole - 8));
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            const int k = base + a * TEAM * 8;
            if (k >= whole) break;
            const float8 activations = LOAD_FLOATS(x + k);
#pragma unroll
            for (int r = 0; r < ROWS; ++r)
                parts[r] += dot8(FLOATS_OF(weights[a][r]), activations);
        }
    }
    for (int k = whole + lane; k < columns; k += TEAM)
        for (int r = 0; r < ROWS; ++r)
            parts[r] += LOAD_WEIGHT(k, starts[r]) * x[k];
    for (int r = 0; r < ROWS; ++r)
        sums[r][item] = parts[r];
    for (int count = TEAM / 2; count > 0; count /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < count)
            for (int r = 0; r < ROWS; ++r)
                sums[r][item] += sums[r][item + count];
    }
    if (lane != 0) return;
    for (int r = 0; r < ROWS; ++r) {
        const int row = first + r;
        if (row >= rows) return;
        const int which = row < rows0 ? 0 : row < rows0 + rows1 ? 1 : 2;
        __global float* y = which == 0   ? y0 + first0 + row
                            : which == 1 ? y1 + first1 + row - rows0
                                         : y2 + first2 + row - rows0 - rows1;
        *y = (accumulate >> which & 1) ? *y + sums[r][item] : sums[r][item];
    }
}
