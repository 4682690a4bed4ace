// The callers of the kernels that read weight matrices: embed, matvec, matmul.
#pragma once

#include <memory>
#include <span>

#include "engine/backend/opencl/opencl_memory.h"
#include "engine/backend/opencl/weight_format.h"

namespace qllama::opencl {

// Compiled for one weight format.
struct WeightKernels {
    const WeightFormat* format = nullptr;
    Kernel embed;
    Kernel matvec;
    Kernel matmul;
    std::int64_t matvecLocal = 1;  // items of a work-group, and tiles that it computes
    std::int64_t matvecTiles = 1;
    std::int64_t matmulSide = 0;  // GPU form: items along each side of a work-group
};

Result<std::unique_ptr<WeightKernels>> compileWeightKernels(DeviceQueue& queue,
                                                            const WeightFormat& format);

// Uploads the tensor in pieces; stop is polled between blocks of rows.
Result<std::unique_ptr<Matrix>> loadMatrix(DeviceQueue& queue, WeightKernels& kernels,
                                           const CatalogTensor& tensor, std::stop_token stop);

// x[i] = row tokens[i], tokens [n] on the device.
void embed(DeviceQueue& queue, const ClMatrix& table, const cl::Buffer& tokens, std::int64_t n,
           const cl::Buffer& x);

// As Backend::matmul.
void multiply(DeviceQueue& queue, std::span<const MatmulTask> tasks, const cl::Buffer& x,
              std::int64_t n);

}  // namespace qllama::opencl
