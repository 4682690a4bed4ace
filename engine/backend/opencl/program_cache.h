// Compiled kernels, kept between runs (cache_file.h) so that a second start compiles nothing.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/backend/opencl/cl.h"
#include "engine/common/result.h"

namespace qllama::opencl {

// A binary depends on device, driver, options and source. One that the driver refuses is compiled anew
// and replaced.
struct ProgramRequest {
    cl::Context context;
    cl::Device device;
    std::string deviceText;  // for errors: "opencl:0 (NAME)"
    std::string_view name;   // of the kernel file
    std::string_view source;
    std::string options;
    // Told true before the compiler is called and false afterwards; not where a kept binary will do.
    std::function<void(bool)> compiling = {};
};

struct BuiltProgram {
    cl::Program program;
    bool fromCache = false;
};

// Fails with Device, and the compiler's log in the message. Throws cl::Error where the driver does not
// even answer.
Result<BuiltProgram> buildProgram(const ProgramRequest& request);

}  // namespace qllama::opencl
