// The devices that there are, each in both forms of the kernels.
#pragma once

#include <QtGlobal>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/opencl/opencl_backend.h"

namespace qllama::test {

struct Target {
    std::string device;
    opencl::FormChoice form;
    std::string name;
    std::string kernelOptions = {};
};

// Empty, with a warning that says why, where there is no OpenCL.
inline std::vector<Target> findTargets() {
    DeviceList list;
    opencl::listDevices(list);
    std::vector<Target> targets;
    for (const DeviceInfo& device : list.devices) {
        targets.push_back({device.id, opencl::FormChoice::Gpu, device.id + " gpu"});
        // A device without room for the local arrays of the other form never gets it.
        if (device.kind == DeviceKind::Cpu && device.platform != "rusticl")
            targets.push_back({device.id, opencl::FormChoice::Cpu, device.id + " cpu"});
        qInfo("%s: %s, %s", device.id.c_str(), device.name.c_str(), device.driver.c_str());
    }
    if (targets.empty()) qWarning("Install pocl-opencl-icd to run these tests.");
    for (const std::string& note : list.notes)
        qWarning("%s", note.c_str());
    return targets;
}

// Null, with a warning, where it fails.
inline std::unique_ptr<Backend> open(const Target& target, std::int64_t largestAllocation = 0) {
    auto backend =
        opencl::createOpenClBackend(target.device, {.form = target.form,
                                                    .largestAllocation = largestAllocation,
                                                    .kernelOptions = target.kernelOptions});
    if (backend.ok()) return std::move(backend).value();
    qWarning("%s", backend.error().text().c_str());
    return nullptr;
}

}  // namespace qllama::test
