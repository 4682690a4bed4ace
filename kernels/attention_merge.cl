// Puts together what the work-groups of `attention` found in their ranges of positions.
//
//   partials [queries, splits, PADDED_DIM + 2]: a sum of values weighted by exp(score - maximum),
//            then the sum of the weights and the maximum
//   out      [queries, HEAD_DIM]
//
// Work: one item an element of out, global size queries * HEAD_DIM rounded up; any work-group size.

#ifndef HEAD_DIM
#define HEAD_DIM 64
#define PADDED_DIM 64
#endif

#define RECORD (PADDED_DIM + 2)

__kernel void attention_merge(__global const float* partials, int splits, int queries,
                              __global float* out) {
    const int index = (int)get_global_id(0);
    const int query = index / HEAD_DIM;
    const int dim = index % HEAD_DIM;
    if (query >= queries) return;
    partials += (size_t)query * splits * RECORD;
    float maximum = -INFINITY;
    for (int s = 0; s < splits; ++s)
        maximum = fmax(maximum, partials[s * RECORD + PADDED_DIM + 1]);
    float sum = 0.0f;
    float value = 0.0f;
    for (int s = 0; s < splits; ++s) {
        __global const float* part = partials + s * RECORD;
        const float weight = exp(part[PADDED_DIM + 1] - maximum);
        sum += weight * part[PADDED_DIM];
        value += weight * part[dim];
    }
    out[index] = value / sum;
}
