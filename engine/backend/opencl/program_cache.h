// Compiled kernels, kept in $XDG_CACHE_HOME/qllama/opencl (else ~/.cache/qllama/opencl) so that a
// second start compiles nothing.
#pragma once

#include <string>
#include <string_view>

#include "engine/backend/opencl/cl.h"
#include "engine/common/result.h"

namespace qllama::opencl {

// One file of the cache: a line that names the format, then the key (everything that the binary
// depends on: device, driver, options, source), the binary, and a checksum over both. A file that is
// not exactly that, or that the driver refuses, is compiled anew and replaced. Files are written
// under another name and renamed, so that two programs may share the folder. Failing to write is no
// failure: the next start compiles again.
struct ProgramRequest {
    cl::Context context;
    cl::Device device;
    std::string deviceText;  // for errors: "opencl:0 (NAME)"
    std::string_view name;   // of the kernel file
    std::string_view source;
    std::string options;
};

struct BuiltProgram {
    cl::Program program;
    bool fromCache = false;
};

// Fails with Device, and the compiler's log in the message.
Result<BuiltProgram> buildProgram(const ProgramRequest& request);

// "" when there is no place for it (neither XDG_CACHE_HOME nor HOME is set).
std::string programCacheFolder();

}  // namespace qllama::opencl
