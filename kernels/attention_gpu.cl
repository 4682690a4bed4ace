// Causal attention over the KV cache, a chunk of positions at a time with a running softmax
// (arXiv:2205.14135), for GPU-like devices.
//
//   q        [n, heads * HEAD_DIM]; row i sees positions 0 .. first + i
//   cache    one layer, as rope_store.cl lays it out
//   out      [n, heads * HEAD_DIM], written when there is one split
//   partials [n * heads, splits, PADDED_DIM + 2], written otherwise; see attention_merge.cl
//
// Work: one work-group of LOCAL items (a power of two) for each split of the positions, query head
// and row: global size (LOCAL * splits, heads, n). An item is first one position of a chunk of LOCAL
// (keys of neighbouring positions are neighbours in memory), then some dimensions of the value.
// KV: 16 half, 32 float.
// Moves the keys and values that are seen once for each query head and row, which is heads / kvHeads * n
// times the least where no cache holds them in between; 4 flops an element.

#ifndef HEAD_DIM
#define HEAD_DIM 64
#define PADDED_DIM 64
#endif
#ifndef KV
#define KV 16
#endif
#ifndef LOCAL
#define LOCAL 64
#endif

#if KV == 16
typedef half Kv;
#define LOAD_KV(i, p) vload_half((i), (p))
#else
typedef float Kv;
#define LOAD_KV(i, p) (p)[i]
#endif

#define KEY_BLOCK 32
#define EACH ((HEAD_DIM + LOCAL - 1) / LOCAL)  // dimensions of an item
#define RECORD (PADDED_DIM + 2)

// The maximum (or sum) over the work-group, in every item. `shared` may be used again afterwards.
float group_maximum(float value, __local float* shared, int item) {
    shared[item] = value;
    for (int count = LOCAL / 2; count > 0; count /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < count) shared[item] = fmax(shared[item], shared[item + count]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    value = shared[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return value;
}

float group_sum(float value, __local float* shared, int item) {
    shared[item] = value;
    for (int count = LOCAL / 2; count > 0; count /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < count) shared[item] += shared[item + count];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    value = shared[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return value;
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void attention(
    __global const float* q, __global const Kv* cache, int heads, int kvHeads, int capacity,
    int first, float scale, int splits, __global float* out, __global float* partials) {
    __local float query[HEAD_DIM];
    __local float weights[LOCAL];
    __local float shared[LOCAL];
    const int item = (int)get_local_id(0);
    const int split = (int)get_group_id(0);
    const int head = (int)get_group_id(1);
    const int i = (int)get_group_id(2);
    const int seen = first + i + 1;
    // Whole chunks for each split; the last ones may find nothing left to do.
    const int chunks = (seen + LOCAL - 1) / LOCAL;
    const int begin = chunks * split / splits * LOCAL;
    const int end = min(seen, chunks * (split + 1) / splits * LOCAL);
    const size_t index = (size_t)i * heads + head;
    __global const Kv* keys =
        cache + (size_t)(head / (heads / kvHeads)) * capacity * (HEAD_DIM + PADDED_DIM);
    __global const Kv* values = keys + (size_t)capacity * HEAD_DIM;
    for (int dim = item; dim < HEAD_DIM; dim += LOCAL)
        query[dim] = q[index * HEAD_DIM + dim] * scale;
    barrier(CLK_LOCAL_MEM_FENCE);
    float sums[EACH];
    for (int e = 0; e < EACH; ++e)
        sums[e] = 0.0f;
    float total = 0.0f;
    float maximum = -INFINITY;
    for (int base = begin; base < end; base += LOCAL) {
        const int position = base + item;
        float score = -INFINITY;
        if (position < end) {
            const size_t key = (size_t)(position / KEY_BLOCK) * KEY_BLOCK * HEAD_DIM +
                               position % KEY_BLOCK;
            score = 0.0f;
            for (int dim = 0; dim < HEAD_DIM; ++dim)
                score = mad(query[dim], LOAD_KV(key + dim * KEY_BLOCK, keys), score);
        }
        const float higher = fmax(maximum, group_maximum(score, shared, item));
        const float weight = position < end ? exp(score - higher) : 0.0f;
        const float fade = exp(maximum - higher);
        weights[item] = weight;
        total = total * fade + group_sum(weight, shared, item);
        maximum = higher;
        const int count = min(LOCAL, end - base);
        for (int e = 0; e < EACH; ++e) {
            const int dim = item + e * LOCAL;
            if (dim >= HEAD_DIM) continue;
            float sum = sums[e] * fade;
            for (int j = 0; j < count; ++j)
                sum = mad(weights[j], LOAD_KV((size_t)(base + j) * PADDED_DIM + dim, values), sum);
            sums[e] = sum;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    __global float* record = partials + (index * splits + split) * RECORD;
    for (int e = 0; e < EACH; ++e) {
        const int dim = item + e * LOCAL;
        if (dim >= HEAD_DIM) continue;
        if (splits == 1)
            out[index * HEAD_DIM + dim] = sums[e] / total;
        else
            record[dim] = sums[e];
    }
    if (splits != 1 && item == 0) {
        record[PADDED_DIM] = total;
        record[PADDED_DIM + 1] = maximum;
    }
}
