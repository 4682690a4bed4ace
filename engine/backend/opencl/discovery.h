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

// From any thread. Never fails: what a driver refuses to say becomes a note, and its devices are left out.
Discovery discover();

// What CL_DEVICE_VERSION says: whether it is OpenCL 1.2 or later, which kernels and host code need, and
// whether PoCL's remote driver passes on a device of another machine.
bool isRecentEnough(const std::string& deviceVersion);
bool isRemote(const std::string& deviceVersion);

}  // namespace qllama::opencl
