// Which OpenCL devices there are. Numbering ("opencl:0", ...) follows the order in which the loader
// gives platforms and devices, which is stable while the installed drivers do not change.
#pragma once

#include <string>
#include <vector>

#include "engine/backend/device.h"
#include "engine/backend/opencl/cl.h"

namespace qllama::opencl {

struct FoundDevice {
    cl::Device device;
    DeviceInfo info;
};

struct Discovery {
    std::vector<FoundDevice> devices;
    std::vector<std::string> notes;  // what is missing and how to get it
};

// Never fails: what a driver refuses to say becomes a note, and its devices are left out.
Discovery discover();

}  // namespace qllama::opencl
