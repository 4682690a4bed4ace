// Root-mean-square normalisation of rows (arXiv:1910.07467), for GPU-like devices.
//
//   x    [.., width], rows firstRow .. firstRow + n - 1
//   gain [width]
//   out  [n, width]
//
// Work: one work-group of LOCAL items (a power of two) a row, global size n * LOCAL; neighbouring
// items read neighbouring floats, the sum of squares is reduced in local memory.

#ifndef LOCAL
#define LOCAL 64
#endif

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void rms_norm(
    __global const float* x, int firstRow, __global const float* gain, float epsilon, int width,
    __global float* out) {
    __local float sums[LOCAL];
    const int item = (int)get_local_id(0);
    const int i = (int)get_group_id(0);
    x += (size_t)(firstRow + i) * width;
    out += (size_t)i * width;
    float sum = 0.0f;
    for (int k = item; k < width; k += LOCAL)
        sum = mad(x[k], x[k], sum);
    sums[item] = sum;
    for (int half_ = LOCAL / 2; half_ > 0; half_ /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < half_) sums[item] += sums[item + half_];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const float scale = 1.0f / sqrt(sums[0] / (float)width + epsilon);
    for (int k = item; k < width; k += LOCAL)
        out[k] = x[k] * scale * gain[k];
}
