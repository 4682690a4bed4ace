// Rows of the embedding table, widened to f32.
//
//   table  [rows, columns], rows [firstRow, firstRow + rows) of the whole table (one piece of it)
//   tokens [n]; those outside the piece are left to the launch for theirs
//   x      [n, columns]
//
// Work: one item an element, global size (columns, n); no local memory, any work-group size.
// WEIGHT: 16 half, 17 bfloat16, 32 float.

#ifndef WEIGHT
#define WEIGHT 16
#endif

#if WEIGHT == 16
typedef half Weight;
#define LOAD_WEIGHT(i, p) vload_half((i), (p))
#elif WEIGHT == 17
typedef ushort Weight;
#define LOAD_WEIGHT(i, p) as_float((uint)(p)[i] << 16)
#else
typedef float Weight;
#define LOAD_WEIGHT(i, p) (p)[i]
#endif

__kernel void embed(__global const Weight* table, int firstRow, int rows, int columns,
                    __global const int* tokens, __global float* x) {
    const int column = (int)get_global_id(0);
    const int i = (int)get_global_id(1);
    const int row = tokens[i] - firstRow;
    if (column >= columns || row < 0 || row >= rows) return;
    x[(size_t)i * columns + column] = LOAD_WEIGHT((size_t)row * columns + column, table);
}
