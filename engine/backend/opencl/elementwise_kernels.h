// The callers of rms_norm and swiglu.
#pragma once

#include "engine/backend/opencl/device_queue.h"

namespace qllama::opencl {

class ElementwiseKernels {
public:
    static Result<ElementwiseKernels> compile(DeviceQueue& queue);

    struct Norm {
        const cl::Buffer& x;
        std::int64_t firstRow;
        const cl::Buffer& gain;
        float epsilon;
        std::int64_t width;
        std::int64_t n;
        const cl::Buffer& out;
    };
    void rmsNorm(DeviceQueue& queue, const Norm& norm);
    void swiglu(DeviceQueue& queue, const cl::Buffer& gate, const cl::Buffer& up,
                std::int64_t count);

private:
    Kernel m_rmsNorm;
    Kernel m_swiglu;
    std::int64_t m_normLocal = 1;
};

}  // namespace qllama::opencl
