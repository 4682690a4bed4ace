// Divides the attention of a layer among the threads. Private to backend/cpu.
#pragma once

#include <span>
#include <vector>

#include "engine/backend/cpu/aligned_floats.h"
#include "engine/backend/cpu/cpu_memory.h"
#include "engine/common/thread_pool.h"

namespace qllama::cpu {

struct AttentionWork {
    const float* queries = nullptr;  // [rows, headCount * headDim]
    AttentionShape shape;
    const CpuKvCache* cache = nullptr;
    std::int64_t layer = 0;
    std::int64_t first = 0;  // position of row 0
    std::int64_t rows = 0;
    float* out = nullptr;  // [rows, headCount * headDim]
};

// Kept between calls so that no memory is allocated for each token.
struct AttentionScratch {
    AlignedFloats outputs;
    std::vector<AttentionPartial> partials;
    std::vector<AttentionQuery> queries;
};

// `rooms`: one a thread, which grow to what the kernels work in.
void attend(const AttentionWork& work, ThreadPool& pool, AttentionScratch& scratch,
            std::span<AlignedFloats> rooms);

}  // namespace qllama::cpu
