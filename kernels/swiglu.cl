// gate = silu(gate) * up, elementwise; silu(v) = v / (1 + exp(-v)).
//
//   gate, up [count]
//
// Work: one item an element, global size count rounded up; no local memory, any work-group size.

__kernel void swiglu(__global float* gate, __global const float* up, int count) {
    const int i = (int)get_global_id(0);
    if (i >= count) return;
    const float value = gate[i];
    gate[i] = value / (1.0f + exp(-value)) * up[i];
}
