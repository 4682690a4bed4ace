// Causal attention over the KV cache, a chunk of positions at a time with a running softmax
// (arXiv:2205.14135), for GPU-like devices.
//
//   q        [n, heads * HEAD_DIM]; row i sees positions 0 .. first + i
//   cache    one layer, as rope_store.cl lays it out
//   out      [n, heads * HEAD_DIM], written when there is one split
//   partials [n * heads, splits, PADDED_DIM + 2], written otherwise; see attention_merge.cl
//
// Work: one work-group of LOCAL items (a power of two) for each split of the positions, HEADS query
// heads of one kv head, and tile of ROWS rows: global size (LOCAL * splits, heads / HEADS,
// ceil(n / ROWS)). All queries of a work-group share what is read of the cache. An item is first one
// position of a chunk of LOCAL (keys of neighbouring positions are neighbours in memory), then some
// dimensions of the value.
// HEADS: divides the query heads of a kv head. KV: 16 half, 32 float.
// Moves the keys and values that are seen once for each tile and HEADS query heads; 4 HEADS ROWS flops
// an element.

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
#ifndef HEADS
#define HEADS 1
#endif
#ifndef ROWS
#define ROWS 8
#endif

#if KV == 16
typedef half Kv;
#define LOAD_KV(i, p) vload_half((i), (p))
#else
typedef float Kv;
#define LOAD_KV(i, p) (p)[i]
#endif

#define KEY_BLOCK 32
#define QUERIES (HEADS * ROWS)
#define EACH ((HEAD_DIM + LOCAL - 1) / LOCAL)  // dimensions of an item
#define RECORD (PADDED_DIM + 2)

// The greatest of each query over the work-group, in every item. `shared` [QUERIES][LOCAL] may be
// used again afterwards.
void group_maxima(float* values, __local float* shared, int item) {
    for (int t = 0; t < QUERIES; ++t)
        shared[t * LOCAL + item] = values[t];
    for (int count = LOCAL / 2; count > 0; count /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < count)
            for (int t = 0; t < QUERIES; ++t)
                shared[t * LOCAL + item] =
                    fmax(shared[t * LOCAL + item], shared[t * LOCAL + item + count]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int t = 0; t < QUERIES; ++t)
        values[t] = shared[t * LOCAL];
    barrier(CLK_LOCAL_MEM_FENCE);
}

void group_sums(float* values, __local float* shared, int item) {
    for (int t = 0; t < QUERIES; ++t)
        shared[t * LOCAL + item] = values[t];
    for (int count = LOCAL / 2; count > 0; count /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < count)
            for (int t = 0; t < QUERIES; ++t)
                shared[t * LOCAL + item] += shared[t * LOCAL + item + count];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int t = 0; t < QUERIES; ++t)
        values[t] = shared[t * LOCAL];
    barrier(CLK_LOCAL_MEM_FENCE);
}

// The scores of a position for all queries, [HEAD_DIM][QUERIES] of them in local memory.
void scores_of(__local const float* queries, __global const Kv* keys, int position, float* scores) {
    const size_t key = (size_t)(position / KEY_BLOCK) * KEY_BLOCK * HEAD_DIM + position % KEY_BLOCK;
    for (int t = 0; t < QUERIES; ++t)
        scores[t] = 0.0f;
    for (int dim = 0; dim < HEAD_DIM; ++dim) {
        const float element = LOAD_KV(key + dim * KEY_BLOCK, keys);
        for (int t = 0; t < QUERIES; ++t)
            scores[t] = mad(queries[dim * QUERIES + t], element, scores[t]);
    }
}

__kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void attention(
    __global const float* q, __global const Kv* cache, int heads, int kvHeads, int capacity,
    int first, float scale, int splits, __global float* out, __global float* partials, int n) {
    __local float queries[HEAD_DIM * QUERIES];  // [dim][query]
    __local float weights[LOCAL * QUERIES];     // [position][query]; between chunks as it comes
    const int item = (int)get_local_id(0);
    const int split = (int)get_group_id(0);
    const int head0 = (int)get_group_id(1) * HEADS;
    const int row0 = (int)get_group_id(2) * ROWS;
    const int seen = first + min(row0 + ROWS, n);  // by the last row of the tile
    // Whole chunks for each split; the last ones may find nothing left to do.
    const int chunks = (seen + LOCAL - 1) / LOCAL;
    const int begin = chunks * split / splits * LOCAL;
    const int end = min(seen, chunks * (split + 1) / splits * LOCAL);
    __global const Kv* keys =
        cache + (size_t)(head0 / (heads / kvHeads)) * capacity * (HEAD_DIM + PADDED_DIM);
    __global const Kv* values = keys + (size_t)capacity * HEAD_DIM;
    for (int i = item; i < HEAD_DIM * QUERIES; i += LOCAL) {
        const int dim = i % HEAD_DIM;
        const int t = i / HEAD_DIM;
        const int row = min(row0 + t / HEADS, n - 1);
        queries[dim * QUERIES + t] =
            q[((size_t)row * heads + head0 + t % HEADS) * HEAD_DIM + dim] * scale;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    float sums[EACH * QUERIES];
    for (int i = 0; i < EACH * QUERIES; ++i)
        sums[i] = 0.0f;
    float totals[QUERIES];  // of this item's positions
    float maxima[QUERIES];
    for (int t = 0; t < QUERIES; ++t) {
        totals[t] = 0.0f;
        maxima[t] = -INFINITY;
    }
    for (int base = begin; base < end; base += LOCAL) {
        const int position = base + item;
        float scores[QUERIES];
        if (position < end) scores_of(queries, keys, position, scores);
        float higher[QUERIES];
        for (int t = 0; t < QUERIES; ++t) {
            if (position >= end || position > first + row0 + t / HEADS) scores[t] = -INFINITY;
            higher[t] = scores[t];
        }
        group_maxima(higher, weights, item);
        float fades[QUERIES];
        for (int t = 0; t < QUERIES; ++t) {
            higher[t] = fmax(higher[t], maxima[t]);
            // A row that sees nothing of this split so far has no maximum to subtract.
            const float reference = higher[t] == -INFINITY ? 0.0f : higher[t];
            fades[t] = exp(maxima[t] - reference);
            const float weight = exp(scores[t] - reference);
            weights[item * QUERIES + t] = weight;
            totals[t] = totals[t] * fades[t] + weight;
            maxima[t] = higher[t];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        const int count = min(LOCAL, end - base);
        for (int e = 0; e < EACH; ++e) {
            const int dim = item + e * LOCAL;
            if (dim >= HEAD_DIM) continue;
            float* sum = sums + e * QUERIES;
            for (int t = 0; t < QUERIES; ++t)
                sum[t] *= fades[t];
            for (int j = 0; j < count; ++j) {
                const float value = LOAD_KV((size_t)(base + j) * PADDED_DIM + dim, values);
                for (int t = 0; t < QUERIES; ++t)
                    sum[t] = mad(weights[j * QUERIES + t], value, sum[t]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    group_sums(totals, weights, item);
    for (int t = 0; t < QUERIES; ++t) {
        const int row = row0 + t / HEADS;
        if (row >= n) break;
        const size_t index = (size_t)row * heads + head0 + t % HEADS;
        __global float* record = partials + (index * splits + split) * RECORD;
        for (int e = 0; e < EACH; ++e) {
            const int dim = item + e * LOCAL;
            if (dim >= HEAD_DIM) continue;
            if (splits == 1)
                out[index * HEAD_DIM + dim] = sums[e * QUERIES + t] / totals[t];
            else
                record[dim] = sums[e * QUERIES + t];
        }
        if (splits != 1 && item == 0) {
            record[PADDED_DIM] = totals[t];
            record[PADDED_DIM + 1] = maxima[t];
        }
    }
}
