// The one place that includes the OpenCL C++ bindings.
#pragma once

#define CL_HPP_ENABLE_EXCEPTIONS
#define CL_HPP_TARGET_OPENCL_VERSION 300
// Devices of OpenCL 1.2 are enough for the kernels. The header of Debian 12 declares the function by
// which it chooses between the queue calls of 1.2 and 2.0 at run time only when asked for 1.1.
#define CL_HPP_MINIMUM_OPENCL_VERSION 110
#include <CL/opencl.hpp>
