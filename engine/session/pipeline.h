// Puts a plan into effect: opens the devices, loads each range of layers, and makes a smaller plan
// when a device turns out to have less memory than it announced.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/model/transformer.h"
#include "engine/session/placement.h"

namespace qllama {

// Which devices, in the order of the layers, and how the layers are divided.
struct DeviceChoice {
    std::vector<DeviceInfo> devices;
    std::optional<std::vector<std::int64_t>> split;
    // The last device is the CPU, which nobody named: it takes what fits nowhere else.
    bool cpuIsSpare = false;
    std::vector<std::string> notes;
};

struct DeviceRequest {
    // "cpu", "auto", "opencl:N", or several devices with commas between them.
    std::string device;
    std::optional<std::vector<std::int64_t>> split = {};  // layers of each device
    // Part of the layers, 0 to 1, for the device; the CPU takes the rest. Not together with split.
    std::optional<double> deviceShare = {};
    bool mayUseCpu = true;  // one OpenCL device named and too small: the CPU takes the rest
    // See LoadRequest: whether a device that is not there may be left out.
    std::function<bool(const Error&)> mayLeaveDevice = {};
    std::int64_t layerCount = 0;
};

// "auto" takes graphics cards with memory of their own, else the CPU: never a processor that OpenCL
// offers, nor graphics that share the processor's memory. Fails with Device or InvalidRequest.
Result<DeviceChoice> chooseDevices(const DeviceRequest& request);

// Member order is destruction order reversed: the transformer goes before the backends it borrows.
struct Pipeline {
    PlacementPlan plan;  // as it was carried out; its notes say what differs from the first plan
    std::vector<std::unique_ptr<Backend>> backends;  // one a stage
    std::unique_ptr<Transformer> transformer;
};

struct PipelineRequest {
    PlacementRequest placement;
    bool cpuIsSpare = false;
    BackendOptions options;
    std::function<bool(const Error&)> mayLeaveDevice = {};    // see LoadRequest
    std::function<void(const PlacementPlan&)> planMade = {};  // see LoadRequest
    std::vector<std::string> notes = {};                      // of the choice of devices
};

// Says which layers the CPU takes because they fit nowhere else, where it was not asked for.
void addSpareNote(const PipelineRequest& request, PlacementPlan& plan);

// A device that runs out of memory gets fewer layers, unless the split was given. One that fails is
// left out where mayLeaveDevice says so, and its layers go to the others or to the CPU. Progress
// counts the bytes of all devices.
Result<Pipeline> loadPipeline(const PipelineRequest& request, const Checkpoint& checkpoint,
                              const LoadProgressSink& progress, std::stop_token stop);

}  // namespace qllama
