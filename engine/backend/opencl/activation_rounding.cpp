#include "engine/backend/opencl/activation_rounding.h"

#include "engine/backend/opencl/elementwise_kernels.h"

namespace qllama::opencl {

Result<std::unique_ptr<ActivationRounding>> ActivationRounding::compile(DeviceQueue& queue) {
    auto rounding = std::make_unique<ActivationRounding>();
    const bool wide = queue.form() == KernelForm::Cpu;
    rounding->m_blockBytes = wide ? kMostBlockBytes : kBlockColumns + 8;
    rounding->m_local = wide ? 1 : plainLocalSize(queue);
    // A scale that is off by a unit would round some values the other way than the CPU engine.
    QLLAMA_TRY(rounding->m_kernel, queue.kernel("round_activations", "round_activations",
                                                (wide ? "-DWIDE" : "") + queue.exactDivision()));
    return rounding;
}

bool ActivationRounding::reserve(DeviceQueue& queue, std::int64_t blocks) {
    if (blocks <= m_capacity) return true;
    auto buffer = queue.allocate(blocks * m_blockBytes, false, "rounded activations");
    if (!buffer.ok()) {
        queue.fail(buffer.error());
        return false;
    }
    m_rounded = std::move(buffer).value();
    m_capacity = blocks;
    return true;
}

const cl::Buffer* ActivationRounding::round(DeviceQueue& queue, const cl::Buffer& x,
                                            std::int64_t columns, std::int64_t n) {
    const std::int64_t blocks = blocksOf(columns);
    const std::int64_t count = n * blocks;
    if (!reserve(queue, n * std::max(blocks, m_mostBlocks))) return nullptr;
    const std::int64_t items = (count + m_local - 1) / m_local * m_local;
    queue.launch(m_kernel,
                 {cl::NDRange(static_cast<std::size_t>(items)),
                  cl::NDRange(static_cast<std::size_t>(m_local))},
                 n * columns * 4 + count * m_blockBytes, x, static_cast<cl_int>(columns),
                 static_cast<cl_int>(blocks), static_cast<cl_int>(count), m_rounded);
    return &m_rounded;
}

}  // namespace qllama::opencl
