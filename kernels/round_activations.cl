// Rounds activations to 8 bits in blocks of 32 columns, for products with quantised weights. Two blocks share
// a scale: q = round(x / scale), scale = max |x| / 127 of both, as the CPU engine does. Where one of the x is
// no number or infinite the scale is no number, and so is every product with the two.
//
//   x   [n, columns]
//   out [n, blocks] of BLOCK_INTS; blocks = ceil(columns / 32). The q of a block in order, bytes (0 where
//       there are no columns), then two f32: the scale, and the sum of the q.
//
// Work: one item a pair of blocks, count = n * ceil(blocks / 2), global size count rounded up; no local
// memory, any work-group size.

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

void round_block(float16 low, float16 high, float inverse, float scale, __global int* out) {
    const short16 q0 = convert_short16(rint(low * inverse));
    const short16 q1 = convert_short16(rint(high * inverse));
    vstore4(as_int4(convert_char16(q0)), 0, out);
    vstore4(as_int4(convert_char16(q1)), 1, out);
    out[BLOCK_INTS - 2] = as_int(scale);
    out[BLOCK_INTS - 1] = as_int((float)sum_of(q0 + q1));
}

__kernel void round_activations(__global const float* x, int columns, int blocks, int count,
                                __global int* out) {
    const int i = (int)get_global_id(0);
    if (i >= count) return;
    const int pairs = (blocks + 1) / 2;
    const int block = i % pairs * 2;
    const int first = block * BLOCK_COLUMNS;
    x += (size_t)(i / pairs) * columns + first;
    out += ((size_t)(i / pairs) * blocks + block) * BLOCK_INTS;
    float values[2 * BLOCK_COLUMNS];
    if (first + 2 * BLOCK_COLUMNS <= columns) {
#pragma unroll
        for (int k = 0; k < 4; ++k)
            vstore16(vload16(k, x), k, values);
    } else {
        for (int k = 0; k < 2 * BLOCK_COLUMNS; ++k)
            values[k] = first + k < columns ? x[k] : 0.0f;
    }
    const float16 v0 = vload16(0, values);
    const float16 v1 = vload16(1, values);
    const float16 v2 = vload16(2, values);
    const float16 v3 = vload16(3, values);
    const float largest = largest_of(fmax(fmax(fabs(v0), fabs(v1)), fmax(fabs(v2), fabs(v3))));
    // Below 2^-120 the quotient could be too large to be a number.
    const float inverse = largest >= 0x1p-120f ? 127.0f / largest : 0.0f;
    // fmax passes over what is no number.
    const bool isFinite =
        all(isfinite(v0)) && all(isfinite(v1)) && all(isfinite(v2)) && all(isfinite(v3));
    const float scale = isFinite ? largest / 127.0f : NAN;
    round_block(v0, v1, inverse, scale, out);
    if (block + 1 < blocks) round_block(v2, v3, inverse, scale, out + BLOCK_INTS);
}
