#include "engine/backend/opencl/elementwise_kernels.h"

#include <algorithm>
#include <string>

namespace qllama::opencl {

std::int64_t plainLocalSize(const DeviceQueue& queue) {
    std::int64_t size = 1;
    while (size * 2 <= std::min<std::int64_t>(queue.largestWorkGroup(), 256))
        size *= 2;
    return size;
}

Result<ElementwiseKernels> ElementwiseKernels::compile(DeviceQueue& queue) {
    ElementwiseKernels kernels;
    const bool cpu = queue.form() == KernelForm::Cpu;
    kernels.m_local = plainLocalSize(queue);
    kernels.m_normLocal = cpu ? 1 : kernels.m_local;
    QLLAMA_TRY(kernels.m_rmsNorm, queue.kernel(cpu ? "rms_norm_cpu" : "rms_norm_gpu", "rms_norm",
                                               "-DLOCAL=" + std::to_string(kernels.m_normLocal)));
    QLLAMA_TRY(kernels.m_swiglu, queue.kernel("swiglu", "swiglu", {}));
    return kernels;
}

void ElementwiseKernels::rmsNorm(DeviceQueue& queue, const Norm& norm) {
    const auto local = static_cast<std::size_t>(m_normLocal);
    queue.launch(m_rmsNorm,
                 {cl::NDRange(static_cast<std::size_t>(norm.n) * local), cl::NDRange(local)},
                 (2 * norm.n + 1) * norm.width * 4, norm.x, static_cast<cl_int>(norm.firstRow),
                 norm.gain, norm.epsilon, static_cast<cl_int>(norm.width), norm.out);
}

void ElementwiseKernels::swiglu(DeviceQueue& queue, const cl::Buffer& gate, const cl::Buffer& up,
                                std::int64_t count) {
    const std::int64_t items = (count + m_local - 1) / m_local * m_local;
    queue.launch(m_swiglu,
                 {cl::NDRange(static_cast<std::size_t>(items)),
                  cl::NDRange(static_cast<std::size_t>(m_local))},
                 count * 12, gate, up, static_cast<cl_int>(count));
}

}  // namespace qllama::opencl
