// The one place that knows every backend: add a row here for the next one.
#include <string>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/device.h"
#include "engine/backend/opencl/opencl_backend.h"

namespace qllama {
namespace {

struct BackendEntry {
    bool (*owns)(const std::string& deviceId);
    Result<std::unique_ptr<Backend>> (*create)(const std::string& deviceId,
                                               const BackendOptions& options);
    void (*list)(DeviceList& list);
};

constexpr BackendEntry kBackends[] = {
    {.owns = [](const std::string& deviceId) { return deviceId == "cpu"; },
     .create = [](const std::string&, const BackendOptions& options)
         -> Result<std::unique_ptr<Backend>> { return cpu::createCpuBackend(options.threadCount); },
     .list = [](DeviceList& list) { list.devices.push_back(cpu::describeCpu()); }},
    {.owns = opencl::ownsDevice,
     .create =
         [](const std::string& deviceId, const BackendOptions& options) {
             return opencl::createOpenClBackend(deviceId, {.profile = options.profile});
         },
     .list = opencl::listDevices},
};

}  // namespace

DeviceList listDevices() {
    DeviceList list;
    for (const BackendEntry& entry : kBackends)
        entry.list(list);
    return list;
}

Result<std::unique_ptr<Backend>> createBackend(const std::string& deviceId,
                                               const BackendOptions& options) {
    for (const BackendEntry& entry : kBackends)
        if (entry.owns(deviceId)) return entry.create(deviceId, options);
    std::string known;
    for (const DeviceInfo& device : listDevices().devices)
        known += (known.empty() ? "" : ", ") + device.id + " (" + device.name + ")";
    return Error{ErrorCode::Device,
                 "There is no device '" + deviceId + "'. This machine has: " + known + ".",
                 {}};
}

}  // namespace qllama
