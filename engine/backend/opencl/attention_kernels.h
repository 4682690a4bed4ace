// The callers of rope_store, attention and attention_merge, for one head size and cache precision.
#pragma once

#include <memory>

#include "engine/backend/opencl/opencl_memory.h"

namespace qllama::opencl {

struct AttentionWork {
    const cl::Buffer& q;
    const AttentionShape& shape;
    const ClKvCache& cache;
    std::int64_t layer;
    std::int64_t first;
    std::int64_t n;
    const cl::Buffer& out;
};

struct RopeWork {
    const cl::Buffer& q;
    const cl::Buffer& k;
    const cl::Buffer& v;
    const cl::Buffer& rotations;
    const AttentionShape& shape;
    const ClKvCache& cache;
    std::int64_t layer;
    std::int64_t first;
    std::int64_t n;
};

class AttentionKernels {
public:
    static Result<std::unique_ptr<AttentionKernels>> compile(DeviceQueue& queue,
                                                             std::int64_t headDim,
                                                             KvPrecision precision);

    [[nodiscard]] bool suits(const KvShape& shape) const {
        return shape.headDim == m_headDim && shape.precision == m_precision;
    }

    // Compiles what prompts and tokens of such a model take, which else happens at their first.
    Result<void> prepare(DeviceQueue& queue, const KvShape& shape);

    void ropeAndStore(DeviceQueue& queue, const RopeWork& work);
    void attention(DeviceQueue& queue, const AttentionWork& work);

private:
    // What the queries of one work-group are: they share what is read of keys and values.
    struct Tile {
        std::int64_t heads = 1;
        std::int64_t rows = 1;
        std::int64_t local = 1;  // items of the work-group
        bool operator==(const Tile&) const = default;
    };
    struct Variant {
        Tile tile;
        Kernel kernel;
    };

    // `positions` are seen by the last of n.
    [[nodiscard]] Tile tileFor(const DeviceQueue& queue, std::int64_t headCount, std::int64_t group,
                               std::int64_t positions, std::int64_t n) const;
    [[nodiscard]] std::int64_t wantedGroups(const DeviceQueue& queue) const;
    Result<Kernel*> kernelFor(DeviceQueue& queue, Tile tile);
    [[nodiscard]] std::int64_t splitsFor(const DeviceQueue& queue, const AttentionWork& work,
                                         Tile tile) const;
    void launch(DeviceQueue& queue, Kernel& kernel, const AttentionWork& work, Tile tile,
                std::int64_t splits);
    bool reservePartials(DeviceQueue& queue, std::int64_t records);

    std::int64_t m_headDim = 0;
    KvPrecision m_precision = KvPrecision::F16;
    KernelForm m_form = KernelForm::Cpu;
    std::string m_options;
    std::int64_t m_local = 1;  // most items of a work-group
    Kernel m_ropeStore;
    Kernel m_merge;
    std::vector<std::unique_ptr<Variant>> m_variants;  // those used so far
    cl::Buffer m_partials;
    std::int64_t m_partialRecords = 0;
};

}  // namespace qllama::opencl
