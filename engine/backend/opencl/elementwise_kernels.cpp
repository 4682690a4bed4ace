#include "engine/backend/opencl/elementwise_kernels.h"

#include <algorithm>
#include <string>

namespace qllama::opencl {
namespace {

constexpr std::int64_t kMostNormItems = 256;  // more wait for each other longer than they compute

}  // namespace

Result<ElementwiseKernels> ElementwiseKernels::compile(DeviceQueue& queue) {
    ElementwiseKernels kernels;
    const bool cpu = queue.form() == KernelForm::Cpu;
    while (!cpu && kernels.m_normLocal * 2 <= std::min(queue.largestWorkGroup(), kMostNormItems))
        kernels.m_normLocal *= 2;
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
    queue.launch(m_swiglu, flatGrid(m_swiglu, count), count * 12, gate, up,
                 static_cast<cl_int>(count));
}

}  // namespace qllama::opencl
