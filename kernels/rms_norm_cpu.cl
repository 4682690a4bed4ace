// Root-mean-square normalisation of rows (arXiv:1910.07467), for CPU-like devices.
//
//   x    [.., width], rows firstRow .. firstRow + n - 1
//   gain [width]
//   out  [n, width]
//
// Work: one work-group of one item a row, global size n; wide vectors along the row.
// LANES: floats of a vector, 8 or 16.

#ifndef LANES
#define LANES 8
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

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void rms_norm(
    __global const float* x, int firstRow, __global const float* gain, float epsilon, int width,
    __global float* out) {
    const int i = (int)get_global_id(0);
    x += (size_t)(firstRow + i) * width;
    out += (size_t)i * width;
    const int whole = width / LANES * LANES;
    Vector squares = (Vector)(0.0f);
    for (int k = 0; k < whole; k += LANES) {
        const Vector v = LOAD(x + k);
        squares = mad(v, v, squares);
    }
    const float4 quarter = SUM4(squares);
    float sum = quarter.x + quarter.y + quarter.z + quarter.w;
    for (int k = whole; k < width; ++k)
        sum += x[k] * x[k];
    const float scale = 1.0f / sqrt(sum / (float)width + epsilon);
    for (int k = 0; k < whole; k += LANES)
        STORE(LOAD(x + k) * scale * LOAD(gain + k), out + k);
    for (int k = whole; k < width; ++k)
        out[k] = x[k] * scale * gain[k];
}
