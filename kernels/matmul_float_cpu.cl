// y = x W^T or y += x W^T for many positions (prefill), for CPU-like devices.
//
//   w [rows, columns], row-major (one piece of a matrix)
//   x [n, columns]
//   y [n, stride], written at columns first .. first + rows - 1
//
// Work: one work-group of one item a panel of PANEL = 2 LANES rows, global size ceil(rows / PANEL).
// The panel is widened to f32 once for each DEPTH columns and laid out with its rows side by side,
// so that a tile of TOKENS positions x PANEL rows stays in registers and needs no horizontal sums (6
// positions: 12 sums, 2 weights and 1 activation in 16 registers). Up to FEW positions are not worth
// that: they take the rows as they lie, four rows times three positions at once, with sums along the
// row as in matvec_float_cpu.cl. The sum of each result is the same, bit for bit, for any TOKENS and for
// any place of its position among the others.
// LANES: floats of a vector, 8 or 16. WEIGHT: 16 half, 17 bfloat16, 32 float.
// Moves rows * columns weights once and x once a panel (from cache); 2 n flops a weight.

#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define FMA fma
#else
#define FMA mad
#endif
#ifndef TOKENS
#define TOKENS 6
#endif
#ifndef LANES
#define LANES 8
#endif
#ifndef WEIGHT
#define WEIGHT 16
#endif
#ifndef FEW
#define FEW 18  // measured with PoCL on AVX2: from 24 on the panel is faster
#endif

#if LANES == 16
typedef float16 Vector;
#define LOAD(p) vload16(0, (p))
#define STORE(v, p) vstore16((v), 0, (p))
#define SUM4(v) ((v).lo.lo + (v).lo.hi + (v).hi.lo + (v).hi.hi)
#else
typedef float8 Vector;
#define LOAD(p) vload8(0, (p))
#define STORE(v, p) vstore8((v), 0, (p))
#define SUM4(v) ((v).lo + (v).hi)
#endif

#if WEIGHT == 16
typedef half Weight;
#define LOAD_WEIGHT(i, p) vload_half((i), (p))
#define LOAD_WEIGHTS(p) vload_half8(0, (p))
#define LOAD_WEIGHTS16(p) vload_half16(0, (p))
#elif WEIGHT == 17
typedef ushort Weight;
#define LOAD_WEIGHT(i, p) as_float((uint)(p)[i] << 16)
#define LOAD_WEIGHTS(p) as_float8(convert_uint8(vload8(0, (p))) << 16)
#define LOAD_WEIGHTS16(p) as_float16(convert_uint16(vload16(0, (p))) << 16)
#else
typedef float Weight;
#define LOAD_WEIGHT(i, p) (p)[i]
#define LOAD_WEIGHTS(p) vload8(0, (p))
#define LOAD_WEIGHTS16(p) vload16(0, (p))
#endif

#if LANES == 16
#define LOAD_WEIGHT_VECTOR(p) LOAD_WEIGHTS16(p)
#else
#define LOAD_WEIGHT_VECTOR(p) LOAD_WEIGHTS(p)
#endif

#define PANEL (2 * LANES)
#define DEPTH 256  // columns at a time: the panel takes 16 or 32 KiB

// panel[k][row] = w[row][k] for `count` columns; rows that are not there are 0.
void widen_panel(__global const Weight* w, size_t columns, int rows, int count,
                 __local float* panel) {
    for (int row = 0; row < PANEL; ++row) {
        __local float* target = panel + row;
        if (row >= rows) {
            for (int k = 0; k < count; ++k)
                target[k * PANEL] = 0.0f;
            continue;
        }
        __global const Weight* source = w + (size_t)row * columns;
        const int whole = count / 8 * 8;
        for (int k = 0; k < whole; k += 8) {
            const float8 v = LOAD_WEIGHTS(source + k);
            target[(k + 0) * PANEL] = v.s0;
            target[(k + 1) * PANEL] = v.s1;
            target[(k + 2) * PANEL] = v.s2;
            target[(k + 3) * PANEL] = v.s3;
            target[(k + 4) * PANEL] = v.s4;
            target[(k + 5) * PANEL] = v.s5;
            target[(k + 6) * PANEL] = v.s6;
            target[(k + 7) * PANEL] = v.s7;
        }
        for (int k = whole; k < count; ++k)
            target[k * PANEL] = LOAD_WEIGHT(k, source);
    }
}

void put(Vector low, Vector high, __global float* y, int rows, int add) {
    if (rows >= PANEL) {
        STORE(add ? LOAD(y) + low : low, y);
        STORE(add ? LOAD(y + LANES) + high : high, y + LANES);
        return;
    }
    float sums[PANEL];
    STORE(low, sums);
    STORE(high, sums + LANES);
    for (int row = 0; row < rows; ++row)
        y[row] = add ? y[row] + sums[row] : sums[row];
}

// `tokens` positions at once: a constant, and at most TOKENS.
static inline __attribute__((always_inline)) void tile(int tokens, __local const float* panel,
                                                       __global const float* x, size_t columns,
                                                       int count, __global float* y,
                                                       size_t stride, int rows, int add) {
    Vector low[TOKENS];
    Vector high[TOKENS];
    for (int t = 0; t < tokens; ++t)
        low[t] = high[t] = (Vector)(0.0f);
    for (int k = 0; k < count; ++k) {
        const Vector w0 = LOAD(panel + k * PANEL);
        const Vector w1 = LOAD(panel + k * PANEL + LANES);
#pragma unroll
        for (int t = 0; t < tokens; ++t) {
            const Vector activation = (Vector)(x[t * columns + k]);
            low[t] = FMA(w0, activation, low[t]);
            high[t] = FMA(w1, activation, high[t]);
        }
    }
    for (int t = 0; t < tokens; ++t)
        put(low[t], high[t], y + t * stride, rows, add);
}

#define FEW_ROWS 4
#define FEW_TOKENS 3

// FEW_ROWS rows (those from `rows` on are not there) for `tokens` positions at once: a constant, and at
// most FEW_TOKENS.
static inline __attribute__((always_inline)) void few_tokens(int tokens, __global const Weight* w,
                                                             __global const float* x, int columns,
                                                             __global float* y, size_t stride,
                                                             int rows, int add) {
    const int whole = columns / LANES * LANES;
    __global const Weight* starts[FEW_ROWS];
    Vector sums[FEW_ROWS][FEW_TOKENS];
#pragma unroll
    for (int r = 0; r < FEW_ROWS; ++r) {
        starts[r] = w + (size_t)min(r, rows - 1) * columns;
#pragma unroll
        for (int t = 0; t < tokens; ++t)
            sums[r][t] = (Vector)(0.0f);
    }
    for (int k = 0; k < whole; k += LANES) {
        Vector weights[FEW_ROWS];
#pragma unroll
        for (int r = 0; r < FEW_ROWS; ++r)
            weights[r] = LOAD_WEIGHT_VECTOR(starts[r] + k);
#pragma unroll
        for (int t = 0; t < tokens; ++t) {
            const Vector activation = LOAD(x + (size_t)t * columns + k);
#pragma unroll
            for (int r = 0; r < FEW_ROWS; ++r)
                sums[r][t] = FMA(weights[r], activation, sums[r][t]);
        }
    }
#pragma unroll
    for (int t = 0; t < tokens; ++t)
#pragma unroll
        for (int r = 0; r < FEW_ROWS; ++r) {
            if (r >= rows) continue;
            const float4 quarter = SUM4(sums[r][t]);
            float sum = (quarter.x + quarter.y) + (quarter.z + quarter.w);
            for (int k = whole; k < columns; ++k)
                sum += LOAD_WEIGHT(k, starts[r]) * x[(size_t)t * columns + k];
            __global float* place = y + t * stride + r;
            *place = add ? *place + sum : sum;
        }
}

// A panel for up to FEW positions.
void few(__global const Weight* w, int rows, int columns, __global const float* x, int n,
         __global float* y, size_t stride, int add) {
    for (int row = 0; row < rows; row += FEW_ROWS) {
        __global const Weight* start = w + (size_t)row * columns;
        int t = 0;
        for (; t + 3 <= n; t += 3)
            few_tokens(3, start, x + (size_t)t * columns, columns, y + t * stride + row, stride,
                       rows - row, add);
        if (t + 2 == n)
            few_tokens(2, start, x + (size_t)t * columns, columns, y + t * stride + row, stride,
                       rows - row, add);
        else if (t < n)
            few_tokens(1, start, x + (size_t)t * columns, columns, y + t * stride + row, stride,
                       rows - row, add);
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void matmul(
    __global const Weight* w, int rows, int columns, __global const float* x, int n,
    __global float* y, int stride, int first, int accumulate) {
    __local float panel[DEPTH * PANEL];
    const int row = (int)get_group_id(0) * PANEL;
    const int count = min(PANEL, rows - row);
    w += (size_t)row * columns;
    y += first + row;
    if (n <= FEW) {
        few(w, count, columns, x, n, y, (size_t)stride, accumulate);
        return;
    }
    for (int column = 0; column < columns; column += DEPTH) {
        const int depth = min(DEPTH, columns - column);
        const int add = accumulate || column != 0;
        widen_panel(w + column, (size_t)columns, count, depth, panel);
        int t = 0;
        for (; t + TOKENS <= n; t += TOKENS)
            tile(TOKENS, panel, x + (size_t)t * columns + column, (size_t)columns, depth,
                 y + (size_t)t * stride, (size_t)stride, count, add);
        for (; t + 2 <= n; t += 2)
            tile(2, panel, x + (size_t)t * columns + column, (size_t)columns, depth,
                 y + (size_t)t * stride, (size_t)stride, count, add);
        if (t < n)
            tile(1, panel, x + (size_t)t * columns + column, (size_t)columns, depth,
                 y + (size_t)t * stride, (size_t)stride, count, add);
    }
}
