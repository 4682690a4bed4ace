// Reads a buffer as fast as the device can, to know the limit that decode is measured against; for
// CPU-like devices.
//
//   data [count] vectors of 16 bytes
//   sums [global size], so that the reads cannot be left out
//
// Work: one work-group of one item reads an equal part, as STREAMS streams far from each other, a cache
// line of each in turn; the number of work-groups is the host's choice (one for each core).
// Moves count * 16 bytes once, but for what is left over of the division: less than a line for each stream.

#ifndef STREAMS
#define STREAMS 4
#endif

#define LINE 4  // vectors

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void read_memory(__global const uint4* data,
                                                                         ulong count,
                                                                         __global uint* sums) {
    const size_t stream = count / get_global_size(0) / (STREAMS * LINE) * LINE;
    __global const uint4* part = data + get_global_id(0) * STREAMS * stream;
    uint16 totals[STREAMS];
    for (int s = 0; s < STREAMS; ++s)
        totals[s] = (uint16)(0);
    for (size_t i = 0; i < stream; i += LINE)
#pragma unroll
        for (int s = 0; s < STREAMS; ++s)
            totals[s] += vload16(0, (__global const uint*)(part + s * stream + i));
    uint16 total = totals[0];
    for (int s = 1; s < STREAMS; ++s)
        total += totals[s];
    const uint8 half_sum = total.lo + total.hi;
    const uint4 quarter = half_sum.lo + half_sum.hi;
    sums[get_global_id(0)] = quarter.x + quarter.y + quarter.z + quarter.w;
}

// data[i] = different numbers: what is the same everywhere may be stored once, or compressed.
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void fill_memory(__global uint4* data,
                                                                         ulong count) {
    for (size_t i = get_global_id(0); i < count; i += get_global_size(0))
        data[i] = ((uint)i * 4 + (uint4)(1, 2, 3, 4)) * 2654435761u;
}
