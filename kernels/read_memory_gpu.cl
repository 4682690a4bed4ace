// Reads a buffer as fast as the device can, to know the limit that decode is measured against; for
// GPU-like devices.
//
//   data [count] vectors of 16 bytes
//   sums [global size], so that the reads cannot be left out
//
// Work: as many items as keep the device busy, any work-group size; neighbouring items read neighbouring
// vectors, four of them under way for each item.
// Moves count * 16 bytes once.

__kernel void read_memory(__global const uint4* data, ulong count, __global uint* sums) {
    const size_t items = get_global_size(0);
    size_t i = get_global_id(0);
    uint4 a = (uint4)(0), b = (uint4)(0), c = (uint4)(0), d = (uint4)(0);
    for (; i + 3 * items < count; i += 4 * items) {
        a += data[i];
        b += data[i + items];
        c += data[i + 2 * items];
        d += data[i + 3 * items];
    }
    for (; i < count; i += items)
        a += data[i];
    a += b + (c + d);
    sums[get_global_id(0)] = a.x + a.y + a.z + a.w;
}

// data[i] = different numbers: what is the same everywhere may be stored once, or compressed.
__kernel void fill_memory(__global uint4* data, ulong count) {
    for (size_t i = get_global_id(0); i < count; i += get_global_size(0))
        data[i] = ((uint)i * 4 + (uint4)(1, 2, 3, 4)) * 2654435761u;
}
