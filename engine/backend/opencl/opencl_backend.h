// Transformers on OpenCL devices: everything between the tokens and the logits happens there.
#pragma once

#include <memory>
#include <string>

#include "engine/backend/backend.h"

namespace qllama::opencl {

bool ownsDevice(const std::string& deviceId);  // "opencl:N"
void listDevices(DeviceList& list);

enum class FormChoice { Automatic, Cpu, Gpu };

struct OpenClOptions {
    // The other form than the device's, for tests. Devices whose work-groups hold fewer than 32
    // items run the CPU's in any case.
    FormChoice form = FormChoice::Automatic;
    bool profile = false;
    // Tests: treat the device's largest allocation as this much (0: as it is).
    std::int64_t largestAllocation = 0;
};

// Compiles the kernels or finds them in the cache. Fails with Device.
Result<std::unique_ptr<Backend>> createOpenClBackend(const std::string& deviceId,
                                                     const OpenClOptions& options);

}  // namespace qllama::opencl
