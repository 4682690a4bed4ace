// y = W x or y += W x for up to three matrices that share x (decode), for CPU-like devices.
//
//   w0, w1, w2 [rowsN, columns], row-major; rows 0 where there is none
//   x          [columns]
//   y0, y1, y2 written from element firstN on, rowsN of them; added to where bit N of accumulate is 1
//
// Work: matvec_steps_cpu.clh, with steps of a row of each of ROWS bands, TURN vectors of each in turn.
// LANES: floats of a vector, 8 or 16. WEIGHT: 16 half, 17 bfloat16, 32 float.
// Moves rows * columns weights once; 2 flops a weight.

#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define FMA fma
#else
#define FMA mad
#endif
#ifndef LANES
#define LANES 8
#endif
#ifndef WEIGHT
#define WEIGHT 16
#endif

#if LANES == 16
typedef float16 Vector;
#define LOAD(p) vload16(0, (p))
#define SUM4(v) ((v).lo.lo + (v).lo.hi + (v).hi.lo + (v).hi.hi)
#else
typedef float8 Vector;
#define LOAD(p) vload8(0, (p))
#define SUM4(v) ((v).lo + (v).hi)
#endif

#if WEIGHT == 16
typedef half Weight;
#define LOAD_WEIGHT(i, p) vload_half((i), (p))
#if LANES == 16
#define LOAD_WEIGHTS(p) vload_half16(0, (p))
#else
#define LOAD_WEIGHTS(p) vload_half8(0, (p))
#endif
#elif WEIGHT == 17
typedef ushort Weight;
#define LOAD_WEIGHT(i, p) as_float((uint)(p)[i] << 16)
#if LANES == 16
#define LOAD_WEIGHTS(p) as_float16(convert_uint16(vload16(0, (p))) << 16)
#else
#define LOAD_WEIGHTS(p) as_float8(convert_uint8(vload8(0, (p))) << 16)
#endif
#else
typedef float Weight;
#define LOAD_WEIGHT(i, p) (p)[i]
#define LOAD_WEIGHTS(p) LOAD(p)
#endif

#ifndef ROWS
#define ROWS 4
#endif
#define TURN 4

typedef float Input;

float total(Vector v) {
    const float4 quarter = SUM4(v);
    return (quarter.x + quarter.y) + (quarter.z + quarter.w);
}

float dot_row(__global const Weight* w, __global const float* x, int columns) {
    const int whole = columns / LANES * LANES;
    Vector sums = (Vector)(0.0f);
    for (int k = 0; k < whole; k += LANES)
        sums = FMA(LOAD_WEIGHTS(w + k), LOAD(x + k), sums);
    float sum = total(sums);
    for (int k = whole; k < columns; ++k)
        sum += LOAD_WEIGHT(k, w) * x[k];
    return sum;
}

void put(__global float* y, float sum, int add) {
    *y = add ? *y + sum : sum;
}

// ROWS rows: row, row + step, row + 2 step, ..
void far_rows(__global const Weight* w, __global const float* x, int columns, int row, int step,
              __global float* y, int add) {
    __global const Weight* start = w + (size_t)row * columns;
    const size_t stride = (size_t)step * columns;
    const int whole = columns / LANES * LANES;
    Vector sums[ROWS];
    for (int r = 0; r < ROWS; ++r)
        sums[r] = (Vector)(0.0f);
    int next = 0;
    for (; next + TURN * LANES <= whole; next += TURN * LANES)
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int k = next; k < next + TURN * LANES; k += LANES)
                sums[r] = FMA(LOAD_WEIGHTS(start + r * stride + k), LOAD(x + k), sums[r]);
    for (; next < whole; next += LANES)
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
            sums[r] = FMA(LOAD_WEIGHTS(start + r * stride + next), LOAD(x + next), sums[r]);
    for (int r = 0; r < ROWS; ++r) {
        float sum = total(sums[r]);
        for (int k = whole; k < columns; ++k)
            sum += LOAD_WEIGHT(k, start + r * stride) * x[k];
        put(y + row + r * step, sum, add);
    }
}

int steps_in(int rows) {
    return (rows + ROWS - 1) / ROWS;
}

// Steps [begin, end) of one matrix.
void steps_of(__global const Weight* w, __global const float* x, int columns, int rows, int begin,
              int end, __global float* y, int add) {
    const int band = steps_in(rows);
    for (int step = begin; step < end; ++step) {
        if (step + (ROWS - 1) * band < rows) {
            far_rows(w, x, columns, step, band, y, add);
            continue;
        }
        for (int row = step; row < rows; row += band)
            put(y + row, dot_row(w + (size_t)row * columns, x, columns), add);
    }
}

#include "matvec_steps_cpu.clh"
