// The callers of the kernels that read weight matrices: embed, matvec, matmul.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "engine/backend/opencl/activation_rounding.h"
#include "engine/backend/opencl/kernel_plans.h"
#include "engine/backend/opencl/opencl_memory.h"
#include "engine/backend/opencl/weight_format.h"
#include "engine/common/thread_pool.h"

namespace qllama::opencl {

// Compiled for one weight format.
struct WeightKernels {
    const WeightFormat* format = nullptr;
    std::string options;  // for compiling, besides the plan's
    PlanLimits limits;
    MatvecPlan matvecPlan;
    MatmulPlan matmulPlan;
    Kernel embed;
    Kernel matvec;
    Kernel matmul;
};

// With the first of the plans for each product.
Result<std::unique_ptr<WeightKernels>> compileWeightKernels(DeviceQueue& queue,
                                                            const WeightFormat& format);

// Puts another plan into effect; on failure the kernels are as they were.
Result<void> usePlan(DeviceQueue& queue, const MatvecPlan& plan, WeightKernels& kernels);
Result<void> usePlan(DeviceQueue& queue, const MatmulPlan& plan, WeightKernels& kernels);

// The names of the kernel files of the two products.
std::string matvecFile(const WeightKernels& kernels);
std::string matmulFile(const WeightKernels& kernels);

struct LoadContext {
    ThreadPool& pool;      // converts and quantises
    BlockStore* store;     // may be null
    std::stop_token stop;  // polled between blocks of rows
};

// Uploads the tensor in pieces, or has the host's processor read it where it lies in memory: in the
// file, or among the kept weights.
Result<std::unique_ptr<Matrix>> loadMatrix(DeviceQueue& queue, WeightKernels& kernels,
                                           const CatalogTensor& tensor, const LoadContext& context);

// x[i] = row tokens[i], tokens [n] on the device.
void embed(DeviceQueue& queue, const ClMatrix& table, const cl::Buffer& tokens, std::int64_t n,
           const cl::Buffer& x);

// As Backend::matmul. `rounding` may be null where no matrix is of a format that wants it.
void multiply(DeviceQueue& queue, ActivationRounding* rounding, std::span<const MatmulTask> tasks,
              const cl::Buffer& x, std::int64_t n);

}  // namespace qllama::opencl
