// Causal attention over the KV cache, a chunk of positions at a time with a running softmax
// (arXiv:2205.14135), for CPU-like devices.
//
//   q        [n, heads * HEAD_DIM]; row i sees positions 0 .. first + i
//   cache    one layer, as rope_store.cl lays it out
//   out      [n, heads * HEAD_DIM], written when there is one split
//   partials [n * heads, splits, PADDED_DIM + 2], written otherwise; see attention_merge.cl
//
// Work: one work-group of one item for each split of the positions, kv head and tile of ROWS rows:
// global size (splits, kvHeads, ceil(n / ROWS)). All query heads of the group and all rows of the
// tile share a chunk of 32 keys and values, widened once.
// HEADS: query heads a kv head. KV: 16 half, 32 float.
// Moves the keys and values that are seen once a tile; 4 HEADS ROWS flops an element.

#if defined(FP_FAST_FMAF) || defined(__FMA__)
#define FMA fma
#else
#define FMA mad
#endif
#ifndef HEAD_DIM
#define HEAD_DIM 64
#define PADDED_DIM 64  // HEAD_DIM rounded up to a multiple of 16
#endif
#ifndef KV
#define KV 16
#endif
#ifndef HEADS
#define HEADS 1
#endif
#ifndef ROWS
#define ROWS 8
#endif

#if KV == 16
typedef half Kv;
#define LOAD_KVS(i, p) vload_half8((i), (p))
#else
typedef float Kv;
#define LOAD_KVS(i, p) vload8((i), (p))
#endif

#define CHUNK 32  // positions of a block of keys
#define QUERIES (HEADS * ROWS)
#define RECORD (PADDED_DIM + 2)

void widen(__global const Kv* source, int eights, __local float* target) {
    for (int i = 0; i < eights; ++i)
        vstore8(LOAD_KVS(i, source), i, target);
}

// weights[j] = score of position j of the chunk, for `count` of them; -INFINITY for the rest.
float scores_of(__global const float* query, __local const float* keys, float scale, int count,
                __local float* weights) {
    float8 sums[4];
    for (int i = 0; i < 4; ++i)
        sums[i] = (float8)(0.0f);
    for (int dim = 0; dim < HEAD_DIM; ++dim) {
        const float8 element = (float8)(query[dim]);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            sums[i] = FMA(element, vload8(dim * 4 + i, keys), sums[i]);
    }
    for (int i = 0; i < 4; ++i)
        vstore8(sums[i] * scale, i, weights);
    for (int j = count; j < CHUNK; ++j)
        weights[j] = -INFINITY;
    float8 top = fmax(fmax(vload8(0, weights), vload8(1, weights)),
                      fmax(vload8(2, weights), vload8(3, weights)));
    const float4 top4 = fmax(top.lo, top.hi);
    return fmax(fmax(top4.x, top4.y), fmax(top4.z, top4.w));
}

// weights[j] = exp(weights[j] - maximum); their sum.
float weigh(float maximum, __local float* weights) {
    float8 sum = (float8)(0.0f);
    for (int i = 0; i < CHUNK / 8; ++i) {
        const float8 weight = exp(vload8(i, weights) - maximum);
        vstore8(weight, i, weights);
        sum += weight;
    }
    const float4 sum4 = sum.lo + sum.hi;
    return (sum4.x + sum4.y) + (sum4.z + sum4.w);
}

// sums = sums * fade + weights * values, over `count` positions.
void add_values(__local const float* weights, __local const float* values, int count, float fade,
                __local float* sums) {
    for (int part = 0; part < PADDED_DIM / 16; ++part) {
        float8 low = vload8(part * 2, sums) * fade;
        float8 high = vload8(part * 2 + 1, sums) * fade;
        for (int j = 0; j < count; ++j) {
            __local const float* value = values + j * PADDED_DIM + part * 16;
            low = FMA((float8)(weights[j]), vload8(0, value), low);
            high = FMA((float8)(weights[j]), vload8(1, value), high);
        }
        vstore8(low, part * 2, sums);
        vstore8(high, part * 2 + 1, sums);
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void attention(
    __global const float* q, __global const Kv* cache, int heads, int kvHeads, int capacity,
    int first, float scale, int splits, __global float* out, __global float* partials, int n) {
    __local float keys[HEAD_DIM * CHUNK];      // [dim][position]
    __local float values[CHUNK * PADDED_DIM];  // [position][dim]
    __local float weights[CHUNK];
    __local float sums[QUERIES * PADDED_DIM];
    __local float totals[QUERIES];
    __local float maxima[QUERIES];
    const int split = (int)get_group_id(0);
    const int kvHead = (int)get_group_id(1);
    const int row0 = (int)get_group_id(2) * ROWS;
    const int rows = min(ROWS, n - row0);
    const int seen = first + row0 + rows;  // by the last row of the tile
    const int chunks = (seen + CHUNK - 1) / CHUNK;
    const int begin = chunks * split / splits * CHUNK;
    const int end = min(seen, chunks * (split + 1) / splits * CHUNK);
    __global const Kv* allKeys = cache + (size_t)kvHead * capacity * (HEAD_DIM + PADDED_DIM);
    __global const Kv* allValues = allKeys + (size_t)capacity * HEAD_DIM;
    for (int query = 0; query < QUERIES; ++query) {
        totals[query] = 0.0f;
        maxima[query] = -INFINITY;
    }
    for (int i = 0; i < QUERIES * PADDED_DIM; ++i)
        sums[i] = 0.0f;
    for (int base = begin; base < end; base += CHUNK) {
        widen(allKeys + (size_t)base * HEAD_DIM, HEAD_DIM * CHUNK / 8, keys);
        widen(allValues + (size_t)base * PADDED_DIM, CHUNK * PADDED_DIM / 8, values);
        for (int query = 0; query < rows * HEADS; ++query) {
            const int row = row0 + query / HEADS;
            const int head = kvHead * HEADS + query % HEADS;
            const int count = min(CHUNK, first + row + 1 - base);
            if (count <= 0) continue;
            const float top = scores_of(q + ((size_t)row * heads + head) * HEAD_DIM, keys, scale,
                                        count, weights);
            const float higher = fmax(maxima[query], top);
            const float fade = exp(maxima[query] - higher);
            totals[query] = totals[query] * fade + weigh(higher, weights);
            maxima[query] = higher;
            add_values(weights, values, count, fade, sums + query * PADDED_DIM);
        }
    }
    for (int query = 0; query < rows * HEADS; ++query) {
        const size_t index =
            (size_t)(row0 + query / HEADS) * heads + kvHead * HEADS + query % HEADS;
        __local const float* sum = sums + query * PADDED_DIM;
        if (splits == 1) {
            for (int dim = 0; dim < HEAD_DIM; ++dim)
                out[index * HEAD_DIM + dim] = sum[dim] / totals[query];
            continue;
        }
        __global float* record = partials + (index * splits + split) * RECORD;
        for (int dim = 0; dim < PADDED_DIM; ++dim)
            record[dim] = sum[dim];
        record[PADDED_DIM] = totals[query];
        record[PADDED_DIM + 1] = maxima[query];
    }
}
