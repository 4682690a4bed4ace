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

    void ropeAndStore(DeviceQueue& queue, const RopeWork& work);
    void attention(DeviceQueue& queue, const AttentionWork& work);

private:
    // The CPU form is compiled for the number of query heads that share a kv head, and for tiles of
    // one row (decode) or several.
    Result<Kernel*> kernelFor(DeviceQueue& queue, const AttentionWork& work);
    [[nodiscard]] std::int64_t splitsFor(const DeviceQueue& queue, const AttentionWork& work) const;
    void launch(DeviceQueue& queue, Kernel& kernel, const AttentionWork& work, std::int64_t splits);
    bool reservePartials(DeviceQueue& queue, std::int64_t records);

    struct CpuVariant {
        std::int64_t group = 0;
        std::int64_t rows = 0;
        Kernel kernel;
    };

    std::int64_t m_headDim = 0;
    KvPrecision m_precision = KvPrecision::F16;
    std::string m_options;
    std::int64_t m_local = 1;  // GPU form
    Kernel m_ropeStore;
    Kernel m_gpu;
    Kernel m_merge;
    std::vector<std::unique_ptr<CpuVariant>> m_cpu;
    cl::Buffer m_partials;
    std::int64_t m_partialRecords = 0;
};

}  // namespace qllama::opencl
