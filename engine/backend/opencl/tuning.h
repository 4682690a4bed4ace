// Finds the plans of kernel_plans.h that suit a device, and remembers them beside the compiled kernels.
#pragma once

#include <stop_token>
#include <string>

#include "engine/backend/opencl/matrix_kernels.h"

namespace qllama::opencl {

// Puts into effect what suits products with matrices such as `matrix`, one of the device's own: what
// is remembered for this device, driver, source of the kernels, weight format and shape, else what the
// events of a few products of each plan in turn say. Measuring takes half a second at most besides
// compiling, which begins no further variant after two seconds. Whatever goes wrong leaves the usual
// plans in effect; fails with Cancelled alone. Returns the outcome as a sentence. `rounding` as for
// multiply().
Result<std::string> tune(DeviceQueue& queue, ActivationRounding* rounding, WeightKernels& kernels,
                         const ClMatrix& matrix, const std::stop_token& stop);

}  // namespace qllama::opencl
