#include "engine/backend/opencl/activation_rounding.h"

namespace qllama::opencl {
namespace {

// One call of a CPU-like device's work: less is mostly the call.
constexpr std::int64_t kPairsOfCore = 8;

}  // namespace

Result<std::unique_ptr<ActivationRounding>> ActivationRounding::compile(DeviceQueue& queue) {
    auto rounding = std::make_unique<ActivationRounding>();
    if (queue.form() == KernelForm::Cpu) rounding->m_mostLocal = kPairsOfCore;
    // A scale that is off by a unit would round some values the other way than the CPU engine.
    QLLAMA_TRY(rounding->m_kernel,
               queue.kernel("round_activations", "round_activations", queue.exactDivision()));
    return rounding;
}

bool ActivationRounding::reserve(DeviceQueue& queue, std::int64_t blocks) {
    if (blocks <= m_capacity) return true;
    auto buffer = queue.allocate(blocks * kBlockBytes, false, "rounded activations");
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
    const std::int64_t count = n * ((blocks + 1) / 2);
    if (!reserve(queue, n * std::max(blocks, m_mostBlocks))) return nullptr;
    queue.launch(m_kernel, flatGrid(m_kernel, count, m_mostLocal),
                 n * (columns * 4 + blocks * kBlockBytes), x, static_cast<cl_int>(columns),
                 static_cast<cl_int>(blocks), static_cast<cl_int>(count), m_rounded);
    return &m_rounded;
}

}  // namespace qllama::opencl
