// The drivers that are registered with the OpenCL loader, to tell people why one of them is not seen:
// the loader itself passes over a broken one in silence.
#pragma once

#include <string>
#include <vector>

namespace qllama::opencl {

struct IcdFile {
    std::string path;     // "/etc/OpenCL/vendors/pocl.icd"
    std::string problem;  // "" when its library can be loaded; else the reason
};

// Looks where ocl-icd looks: $OCL_ICD_VENDORS (a folder or one file), else /etc/OpenCL/vendors.
std::vector<IcdFile> registeredDrivers();

}  // namespace qllama::opencl
