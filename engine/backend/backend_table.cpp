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
     .create =
         [](const std::string&, const BackendOptions& options) {
             return cpu::createCpuBackend(options.threadCount, options.store);
         },
     .list = [](DeviceList& list) { list.devices.push_back(cpu::describeCpu()); }},
    {.owns = opencl::ownsDevice,
     .create =
         [](const std::string& deviceId, const BackendOptions& options) {
             return opencl::createOpenClBackend(deviceId, {.profile = options.profile,
                                                           .store = options.store,
                                                           .compiling = options.compiling});
         },
     .list = opencl::listDevices},
};

Error unknownDevice(const std::string& id) {
    const DeviceList list = listDevices();
    std::string message = "There is no device '" + id + "'. This machine has: ";
    for (const DeviceInfo& device : list.devices)
        message +=
            (&device == list.devices.data() ? "" : ", ") + device.id + " (" + device.name + ")";
    message += ".";
    for (const std::string& note : list.notes)
        message += " " + note;
    return {ErrorCode::Device, message, {}};
}

}  // namespace

DeviceList listDevices() {
    DeviceList list;
    for (const BackendEntry& entry : kBackends)
        entry.list(list);
    return list;
}

Result<DeviceInfo> describeDevice(const std::string& id) {
    for (const BackendEntry& entry : kBackends) {
        if (!entry.owns(id)) continue;
        DeviceList list;
        entry.list(list);
        for (DeviceInfo& device : list.devices)
            if (device.id == id) return std::move(device);
    }
    return unknownDevice(id);
}

Result<std::unique_ptr<Backend>> createBackend(const std::string& deviceId,
                                               const BackendOptions& options) {
    for (const BackendEntry& entry : kBackends)
        if (entry.owns(deviceId)) return entry.create(deviceId, options);
    return unknownDevice(deviceId);
}

}  // namespace qllama
