#include "engine/session/pipeline.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace qllama {
namespace {

// Layers taken off a device that ran out of memory: an eighth, so that a few attempts settle it.
constexpr std::int64_t kStepBackParts = 8;

std::vector<std::string> namesIn(const std::string& text) {
    std::vector<std::string> names;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t comma = std::min(text.find(',', start), text.size());
        names.push_back(text.substr(start, comma - start));
        start = comma + 1;
    }
    return names;
}

Result<std::vector<DeviceInfo>> automaticDevices() {
    std::vector<DeviceInfo> devices;
    DeviceInfo cpu;
    for (DeviceInfo& device : listDevices().devices) {
        if (device.id == "cpu")
            cpu = std::move(device);
        else if (device.kind == DeviceKind::Gpu && !device.sharesHostMemory)
            devices.push_back(std::move(device));
    }
    devices.push_back(std::move(cpu));
    return devices;
}

// A device that is not there is left out where `request` allows it; a given split then no longer
// counts.
Result<std::vector<DeviceInfo>> namedDevices(const DeviceRequest& request, DeviceChoice& choice) {
    std::vector<DeviceInfo> devices;
    for (const std::string& name : namesIn(request.device)) {
        auto found = describeDevice(name);
        if (!found.ok() && request.mayLeaveDevice && request.mayLeaveDevice(found.error())) {
            choice.notes.push_back(found.error().message + " It was left out.");
            choice.split.reset();
            continue;
        }
        QLLAMA_TRY(DeviceInfo device, std::move(found));
        for (const DeviceInfo& other : devices)
            if (other.id == device.id)
                return Error{
                    ErrorCode::InvalidRequest,
                    "The device " + name + " is named twice; each runs one range of layers.",
                    {}};
        devices.push_back(std::move(device));
    }
    if (devices.empty()) {
        QLLAMA_TRY(DeviceInfo cpu, describeDevice("cpu"));
        devices.push_back(std::move(cpu));
    }
    return devices;
}

// rllama's --percentage-to-gpu: a part of the layers for the device, the rest for the CPU.
Result<DeviceChoice> shared(DeviceChoice choice, const DeviceRequest& request) {
    if (request.split)
        return Error{ErrorCode::InvalidRequest,
                     "A share for the device and a split in layers cannot both be given.",
                     {}};
    if (choice.devices.size() != 2 || choice.devices.back().id != "cpu")
        return Error{ErrorCode::InvalidRequest,
                     "A share of the layers needs exactly one device besides the CPU; '" +
                         request.device + "' does not name one here.",
                     {}};
    const auto layers = static_cast<std::int64_t>(
        std::llround(*request.deviceShare * static_cast<double>(request.layerCount)));
    choice.split = std::vector<std::int64_t>{layers, request.layerCount - layers};
    choice.cpuIsSpare = false;
    return choice;
}

std::string counted(std::int64_t layers) {
    return std::to_string(layers) + (layers == 1 ? " layer" : " layers");
}

LoadProgressSink withOffset(const LoadProgressSink& progress, std::int64_t before,
                            std::int64_t total) {
    if (!progress) return {};
    return [&progress, before, total](const LoadProgress& done) {
        progress({before + done.doneBytes, total});
    };
}

Result<std::unique_ptr<Transformer>> carryOut(const PipelineRequest& request,
                                              const Checkpoint& checkpoint, Pipeline& pipeline,
                                              const LoadProgressSink& progress,
                                              const std::stop_token& stop,
                                              std::size_t& failedStage) {
    const PlacementRequest& placement = request.placement;
    std::int64_t total = 0;
    for (const StagePlacement& stage : pipeline.plan.stages)
        total += stage.storedBytes;
    std::int64_t before = 0;
    std::vector<StageWeights> weights;
    for (failedStage = 0; failedStage < pipeline.plan.stages.size(); ++failedStage) {
        const StagePlacement& stage = pipeline.plan.stages[failedStage];
        QLLAMA_TRY(auto loaded,
                   loadStage(*pipeline.backends[failedStage], checkpoint, placement.config,
                             placement.precision, stage.firstLayer, stage.layerCount,
                             withOffset(progress, before, total), stop));
        weights.push_back(std::move(loaded));
        before += stage.storedBytes;
    }
    return Transformer::create(
        placement.config, std::move(weights),
        {.contextLength = placement.contextLength, .kvPrecision = placement.kvPrecision},
        &failedStage);
}

// The backends of the plan's stages; those already open are kept.
Result<void> openBackends(const PipelineRequest& request, Pipeline& pipeline,
                          std::size_t& failedStage) {
    std::vector<std::unique_ptr<Backend>> open = std::move(pipeline.backends);
    pipeline.backends.clear();
    for (failedStage = 0; failedStage < pipeline.plan.stages.size(); ++failedStage) {
        const StagePlacement& stage = pipeline.plan.stages[failedStage];
        const auto found = std::find_if(open.begin(), open.end(), [&](const auto& backend) {
            return backend && backend->device().id == stage.device.id;
        });
        if (found != open.end()) {
            pipeline.backends.push_back(std::move(*found));
            continue;
        }
        QLLAMA_TRY(auto backend, createBackend(stage.device.id, request.options));
        pipeline.backends.push_back(std::move(backend));
    }
    return {};
}

// Gives the device of a stage fewer layers.
void stepBack(PlacementRequest& placement, const StagePlacement& stage) {
    placement.layerLimits.resize(placement.devices.size(), placement.config.layerCount);
    for (std::size_t i = 0; i < placement.devices.size(); ++i)
        if (placement.devices[i].id == stage.device.id)
            placement.layerLimits[i] =
                stage.layerCount - std::max<std::int64_t>(1, stage.layerCount / kStepBackParts);
}

// A sentence about each device that ran out of memory, given the stages that it first did so with and
// the plan since, if there is one.
std::vector<std::string> stepBackNotes(const std::vector<StagePlacement>& first,
                                       const PlacementPlan* plan) {
    std::vector<std::string> notes;
    for (const StagePlacement& stage : first) {
        std::string now = plan == nullptr ? "." : ", and with fewer.";
        for (const StagePlacement& other : plan ? plan->stages : std::vector<StagePlacement>())
            if (other.device.id == stage.device.id)
                now = "; it has " + counted(other.layerCount) + " now.";
        notes.push_back("The device " + stage.device.id + " (" + stage.device.name +
                        ") ran out of memory with " + counted(stage.layerCount) + now);
    }
    return notes;
}

// Leaves the device of a stage out; the sentence about it.
Result<std::string> leave(PlacementRequest& placement, const StagePlacement& stage,
                          const Error& error) {
    std::vector<DeviceInfo> others;
    std::vector<std::int64_t> limits;
    for (std::size_t i = 0; i < placement.devices.size(); ++i) {
        if (placement.devices[i].id == stage.device.id) continue;
        others.push_back(placement.devices[i]);
        if (i < placement.layerLimits.size()) limits.push_back(placement.layerLimits[i]);
    }
    placement.devices = std::move(others);
    placement.layerLimits = std::move(limits);
    placement.split.reset();
    // The others may be too small for its layers: the CPU, which takes all, comes last.
    const bool hasCpu = std::any_of(placement.devices.begin(), placement.devices.end(),
                                    [](const DeviceInfo& device) { return device.id == "cpu"; });
    if (!hasCpu) {
        QLLAMA_TRY(DeviceInfo cpu, describeDevice("cpu"));
        placement.devices.push_back(std::move(cpu));
        if (!placement.layerLimits.empty())
            placement.layerLimits.push_back(placement.config.layerCount);
    }
    return error.message + " Its layers went elsewhere.";
}

bool mayLeave(const PipelineRequest& request, const Error& error, const StagePlacement& stage) {
    const bool isOfDevice = error.code == ErrorCode::Device || error.code == ErrorCode::OutOfMemory;
    return isOfDevice && stage.device.id != "cpu" && request.mayLeaveDevice &&
           request.mayLeaveDevice(error);
}

std::string wantedDevices(const PlacementRequest& placement) {
    std::string text;
    for (std::size_t i = 0; i + 1 < placement.devices.size(); ++i)
        text += (text.empty() ? "" : ", ") + placement.devices[i].id;
    return text;
}
// A plan, and why it is another one than the first; so does the error where there is none.
Result<PlacementPlan> planAgain(const PlacementRequest& placement, const Checkpoint& checkpoint,
                                const std::vector<StagePlacement>& steppedBack) {
    auto plan = planPlacement(placement, checkpoint);
    const auto notes = stepBackNotes(steppedBack, plan.ok() ? &plan.value() : nullptr);
    if (!plan.ok()) {
        Error error = plan.error();
        for (auto note = notes.rbegin(); note != notes.rend(); ++note)
            error.message.insert(0, *note + ' ');
        return error;
    }
    plan.value().notes.insert(plan.value().notes.begin(), notes.begin(), notes.end());
    return plan;
}

Result<std::unique_ptr<Transformer>> loadStages(const PipelineRequest& request,
                                                const Checkpoint& checkpoint, Pipeline& pipeline,
                                                const LoadProgressSink& progress,
                                                const std::stop_token& stop,
                                                std::size_t& failedStage) {
    QLLAMA_CHECK(openBackends(request, pipeline, failedStage));
    return carryOut(request, checkpoint, pipeline, progress, stop, failedStage);
}

}  // namespace

void addSpareNote(const PipelineRequest& request, PlacementPlan& plan) {
    const StagePlacement& last = plan.stages.back();
    if (!request.cpuIsSpare || last.device.id != "cpu") return;
    const std::string wanted = wantedDevices(request.placement);
    const std::int64_t all = request.placement.config.layerCount;
    const bool one = last.layerCount == 1;
    plan.notes.push_back(last.layerCount == all
                             ? "All layers run on the processor."
                             : std::to_string(last.layerCount) + " of the " + std::to_string(all) +
                                   " layers " + (one ? "does" : "do") + " not fit on " + wanted +
                                   " and " + (one ? "runs" : "run") + " on the processor.");
}

Result<DeviceChoice> chooseDevices(const DeviceRequest& request) {
    DeviceChoice choice;
    choice.split = request.split;
    if (request.device == "auto") {
        QLLAMA_TRY(choice.devices, automaticDevices());
        choice.cpuIsSpare = choice.devices.size() > 1 && !request.split;
    } else {
        QLLAMA_TRY(choice.devices, namedDevices(request, choice));
        const bool onlyOpenCl = choice.devices.size() == 1 && choice.devices.front().id != "cpu";
        if (onlyOpenCl && !request.split && (request.mayUseCpu || request.deviceShare)) {
            QLLAMA_TRY(DeviceInfo cpu, describeDevice("cpu"));
            choice.devices.push_back(std::move(cpu));
            choice.cpuIsSpare = true;
        }
    }
    // Without the device that it was meant for, there is nothing left to share.
    if (request.deviceShare && choice.notes.empty()) return shared(std::move(choice), request);
    return choice;
}

Result<Pipeline> loadPipeline(const PipelineRequest& request, const Checkpoint& checkpoint,
                              const LoadProgressSink& progress, std::stop_token stop) {
    PipelineRequest current = request;
    std::vector<std::string> notes = request.notes;
    std::vector<StagePlacement> steppedBack;
    Pipeline pipeline;
    while (true) {
        QLLAMA_TRY(pipeline.plan, planAgain(current.placement, checkpoint, steppedBack));
        pipeline.plan.notes.insert(pipeline.plan.notes.begin(), notes.begin(), notes.end());
        if (request.planMade) request.planMade(pipeline.plan);
        std::size_t failedStage = 0;
        Result<std::unique_ptr<Transformer>> transformer =
            loadStages(current, checkpoint, pipeline, progress, stop, failedStage);
        if (transformer.ok()) {
            pipeline.transformer = std::move(transformer).value();
            addSpareNote(request, pipeline.plan);
            return pipeline;
        }
        const Error& error = transformer.error();
        const StagePlacement& stage =
            pipeline.plan.stages[std::min(failedStage, pipeline.plan.stages.size() - 1)];
        if (error.code == ErrorCode::OutOfMemory && !current.placement.split &&
            stage.device.id != "cpu") {
            stepBack(current.placement, stage);
            const auto known = [&](const auto& other) {
                return other.device.id == stage.device.id;
            };
            if (std::none_of(steppedBack.begin(), steppedBack.end(), known))
                steppedBack.push_back(stage);
            continue;
        }
        if (!mayLeave(request, error, stage)) return error;
        QLLAMA_TRY(std::string note, leave(current.placement, stage, error));
        notes.push_back(std::move(note));
    }
}

}  // namespace qllama
