// The caller of round_activations: what products with quantised weights take in place of x.
#pragma once

#include <algorithm>
#include <memory>

#include "engine/backend/opencl/device_queue.h"
#include "engine/quant/block_format.h"

namespace qllama::opencl {

class ActivationRounding {
public:
    static Result<std::unique_ptr<ActivationRounding>> compile(DeviceQueue& queue);

    static constexpr std::int64_t kBlockBytes = kBlockColumns + 8;
    [[nodiscard]] static std::int64_t blocksOf(std::int64_t columns) {
        return (columns + kBlockColumns - 1) / kBlockColumns;
    }

    // There will be rows of so many columns: memory for them need not be asked for twice.
    void expect(std::int64_t columns) { m_mostBlocks = std::max(m_mostBlocks, blocksOf(columns)); }

    // x [n, columns] in blocks of 8-bit integers, as kernels/round_activations.cl lays them out, in
    // memory that the next call overwrites. Null after a failure, which the queue keeps.
    const cl::Buffer* round(DeviceQueue& queue, const cl::Buffer& x, std::int64_t columns,
                            std::int64_t n);

private:
    bool reserve(DeviceQueue& queue, std::int64_t blocks);

    Kernel m_kernel;
    std::int64_t m_mostLocal = 256;
    cl::Buffer m_rounded;
    std::int64_t m_mostBlocks = 0;  // of a row
    std::int64_t m_capacity = 0;    // blocks
};

}  // namespace qllama::opencl
