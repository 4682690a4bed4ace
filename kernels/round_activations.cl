// Rounds activations to 8 bits in blocks of 32 columns, for products with quantised weights:
// q = round(x / scale), scale = max |x| / 127 of the block, as the CPU engine does. Where one of the x is
// no number or infinite the scale is no number, and so is every product with the block.
//
//   x   [n, columns]
//   out [n, blocks] of BLOCK_INTS; blocks = ceil(columns / 32), count = n * blocks. The q of a block
//       in order, bytes (0 where there are no columns), then two f32: scale, and scale times the sum
//       of the q.
//
// Work: one item a block, global size count rounded up; no local memory, any work-group size.

#define BLOCK_INTS 10
#define BLOCK_COLUMNS 32

float largest_of(float16 v) {
    const float8 eight = fmax(v.lo, v.hi);
    const float4 four = fmax(eight.lo, eight.hi);
    return fmax(fmax(four.x, four.y), fmax(four.z, four.w));
}

short sum_of(short16 v) {
    const short8 eight = v.lo + v.hi;
    const short4 four = eight.lo + eight.hi;
    return (four.x + four.y) + (four.z + four.w);
}

__kernel void round_activations(__global const float* x, int columns, int blocks, int count,
                                __global int* out) {
    const int i = (int)get_global_id(0);
    if (i >= count) return;
    const int first = i % blocks * BLOCK_COLUMNS;
    x += (size_t)(i / blocks) * columns + first;
    out += (size_t)i * BLOCK_INTS;
    float values[BLOCK_COLUMNS];
    if (first + BLOCK_COLUMNS <= columns) {
        vstore16(vload16(0, x), 0, values);
        vstore16(vload16(1, x), 1, values);
    } else {
        for (int k = 0; k < BLOCK_COLUMNS; ++k)
            values[k] = first + k < columns ? x[k] : 0.0f;
    }
    const float16 low = vload16(0, values);
    const float16 high = vload16(1, values);
    const float largest = largest_of(fmax(fabs(low), fabs(high)));
    // Below 2^-120 the quotient could be too large to be a number.
    const float inverse = largest >= 0x1p-120f ? 127.0f / largest : 0.0f;
    const short16 q0 = convert_short16(rint(low * inverse));
    const short16 q1 = convert_short16(rint(high * inverse));
    vstore4(as_int4(convert_char16(q0)), 0, out);
    vstore4(as_int4(convert_char16(q1)), 1, out);
    // fmax passes over what is no number.
    const float scale = all(isfinite(low)) && all(isfinite(high)) ? largest / 127.0f : NAN;
    out[BLOCK_INTS - 2] = as_int(scale);
    out[BLOCK_INTS - 1] = as_int(scale * (float)sum_of(q0 + q1));
}
