// OpenCL's status codes as words, and as errors of ours.
#pragma once

#include <string>

#include "engine/backend/opencl/cl.h"
#include "engine/common/result.h"

namespace qllama::opencl {

std::string statusName(cl_int status);  // "CL_OUT_OF_RESOURCES", or the number

// The error for a status that met `doing` ("allocating 52 MB for the KV cache") on `deviceText`
// ("opencl:0 (GeForce)"). Running out of memory is OutOfMemory, anything else Device.
// `allocating`: CL_OUT_OF_RESOURCES then means memory too.
Error errorOf(cl_int status, const std::string& doing, const std::string& deviceText,
              bool allocating);

}  // namespace qllama::opencl
