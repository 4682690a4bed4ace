// Rotates queries and keys by their positions on interleaved pairs (arXiv:2104.09864) and appends
// keys and values to one layer of the KV cache.
//
//   q         [n, heads * HEAD_DIM], rotated in place
//   k, v      [n, kvHeads * HEAD_DIM]; k is rotated in place
//   rotations [positions, HEAD_DIM / 2, 2], cosine and sine
//   cache     for each kv head: keys, then values, of `capacity` positions (a multiple of 32).
//             Keys lie in blocks of 32 positions, [capacity / 32, HEAD_DIM, 32]: neighbouring
//             positions are neighbours in memory. Values are rows, [capacity, PADDED_DIM].
//
// Work: one item a pair of one head of one position, over the heads of q, then of k, then of v:
// global size n * (heads + 2 kvHeads) * HEAD_DIM / 2 rounded up; any work-group size.
// KV: 16 half, 32 float.

#ifndef HEAD_DIM
#define HEAD_DIM 64
#define PADDED_DIM 64
#endif
#ifndef KV
#define KV 16
#endif

#if KV == 16
typedef half Kv;
#define STORE_KV(value, i, p) vstore_half_rte((value), (i), (p))
#else
typedef float Kv;
#define STORE_KV(value, i, p) (p)[i] = (value)
#endif

#define KEY_BLOCK 32
#define PAIRS (HEAD_DIM / 2)

float2 rotated(float2 pair, __global const float* rotation) {
    const float cosine = rotation[0];
    const float sine = rotation[1];
    return (float2)(pair.x * cosine - pair.y * sine, pair.x * sine + pair.y * cosine);
}

__kernel void rope_store(__global float* q, __global float* k, __global const float* v,
                         __global const float* rotations, __global Kv* cache, int heads,
                         int kvHeads, int capacity, int first, int n) {
    const int index = (int)get_global_id(0);
    const int pair = index % PAIRS;
    const int slots = heads + 2 * kvHeads;
    const int slot = index / PAIRS % slots;
    const int i = index / PAIRS / slots;
    if (i >= n) return;
    const int position = first + i;
    __global const float* rotation = rotations + ((size_t)position * PAIRS + pair) * 2;
    if (slot < heads) {
        __global float* place = q + ((size_t)i * heads + slot) * HEAD_DIM + 2 * pair;
        vstore2(rotated(vload2(0, place), rotation), 0, place);
        return;
    }
    const bool isKey = slot < heads + kvHeads;
    const int head = slot - heads - (isKey ? 0 : kvHeads);
    const size_t source = ((size_t)i * kvHeads + head) * HEAD_DIM + 2 * pair;
    const size_t keys = (size_t)head * capacity * (HEAD_DIM + PADDED_DIM);
    if (isKey) {
        const float2 key = rotated(vload2(0, k + source), rotation);
        vstore2(key, 0, k + source);
        const size_t target = keys + (size_t)(position / KEY_BLOCK) * KEY_BLOCK * HEAD_DIM +
                              2 * pair * KEY_BLOCK + position % KEY_BLOCK;
        STORE_KV(key.x, target, cache);
        STORE_KV(key.y, target + KEY_BLOCK, cache);
    } else {
        const size_t target =
            keys + (size_t)capacity * HEAD_DIM + (size_t)position * PADDED_DIM + 2 * pair;
        STORE_KV(v[source], target, cache);
        STORE_KV(v[source + 1], target + 1, cache);
    }
}
