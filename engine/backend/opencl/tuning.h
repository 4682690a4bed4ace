// Finds the plans of kernel_plans.h that suit a device, and remembers them beside the compiled kernels.
#pragma once

#include <span>
#include <stop_token>
#include <string>

#include "engine/backend/opencl/matrix_kernels.h"

namespace qllama::opencl {

// Puts into effect what suits products with matrices such as `alike`, one or more of the device's own, of
// the same shape: what is remembered for this device, driver, source of the kernels, weight format and
// shape, else what the events of a few products of each plan in turn say. Measuring takes half a second at most besides
// compiling, which begins no further variant after two seconds. Whatever goes wrong leaves the usual
// plans in effect; fails with Cancelled alone. Returns the outcome as a sentence. `rounding` as for
// multiply().
Result<std::string> tune(DeviceQueue& queue, ActivationRounding* rounding, WeightKernels& kernels,
                         std::span<const ClMatrix* const> alike, const std::stop_token& stop);

}  // namespace qllama::opencl
