#include "engine/session/placement.h"

#include <algorithm>
#include <numeric>

#include "engine/backend/opencl/opencl_backend.h"
#include "engine/common/host_memory.h"
#include "engine/model/transformer.h"

namespace qllama {
namespace {

// Part of a device's memory that a plan leaves alone: drivers keep some for themselves, a desktop
// some more, and most cannot be asked how much is free.
constexpr std::int64_t kMarginParts = 10;  // one tenth

constexpr const char* kLayerMatrices[] = {
    "attention.wq.weight",    "attention.wk.weight",    "attention.wv.weight",
    "attention.wo.weight",    "feed_forward.w1.weight", "feed_forward.w2.weight",
    "feed_forward.w3.weight",
};

constexpr const char* kLayerVectors[] = {"attention_norm.weight", "ffn_norm.weight"};

std::string sizeText(std::int64_t bytes) {
    const bool small = bytes < std::int64_t{1} << 30;
    const double units = static_cast<double>(bytes) / static_cast<double>(1 << (small ? 20 : 30));
    const auto tenths = static_cast<std::int64_t>(units * 10 + 0.5);
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) +
           (small ? " MiB" : " GiB");
}

std::optional<std::int64_t> usableBytes(const DeviceInfo& device) {
    if (device.id == "cpu" || !device.globalMemoryBytes) return std::nullopt;
    const std::int64_t usable =
        *device.globalMemoryBytes - *device.globalMemoryBytes / kMarginParts;
    return std::min(usable, device.freeMemoryBytes.value_or(usable));
}

// In this computer's own memory.
bool isOnHost(const DeviceInfo& device) {
    return device.id == "cpu" || device.sharesHostMemory || device.isHostProcessor;
}

Precision precisionOn(const DeviceInfo& device, Precision wanted) {
    return device.id == "cpu" ? wanted : withoutPacking(wanted);
}

// The bytes of a model's parts, at the precision of the request.
class Sizes {
public:
    Sizes(const PlacementRequest& request, const Checkpoint& checkpoint)
        : m_request(request), m_checkpoint(checkpoint) {}

    [[nodiscard]] StagePlacement stage(const DeviceInfo& device, std::int64_t firstLayer,
                                       std::int64_t layerCount) const {
        const LlamaConfig& config = m_request.config;
        const bool isLast = firstLayer + layerCount == config.layerCount;
        StagePlacement placement;
        placement.device = device;
        placement.firstLayer = firstLayer;
        placement.layerCount = layerCount;
        if (firstLayer == 0) addMatrix("tok_embeddings.weight", placement);
        for (std::int64_t layer = firstLayer; layer < firstLayer + layerCount; ++layer) {
            for (const char* name : kLayerMatrices)
                addMatrix(layerTensorName(layer, name), placement);
            for (const char* name : kLayerVectors)
                addVector(layerTensorName(layer, name), placement);
        }
        if (isLast) {
            addVector("norm.weight", placement);
            addMatrix("output.weight", placement);
        }
        placement.kvCacheBytes = kvCacheBytes(device, layerCount);
        placement.scratchBytes = Transformer::scratchBytes(config, m_request.contextLength, isLast);
        if (quantFormat(m_request.precision) && opencl::ownsDevice(device.id))
            placement.scratchBytes +=
                opencl::roundingBytes(Transformer::batchSize(config, m_request.contextLength),
                                      std::max(config.dim, config.ffnDim));
        placement.usableBytes = usableBytes(device);
        return placement;
    }

    // The most layers from `firstLayer` on that the device can hold beside `taken` bytes.
    [[nodiscard]] std::int64_t fitting(const DeviceInfo& device, std::int64_t firstLayer,
                                       std::int64_t limit, std::int64_t taken) const {
        if (!canHoldCache(device)) return 0;
        const auto usable = usableBytes(device);
        if (!usable) return limit;
        std::int64_t count = limit;
        while (count > 0 && stage(device, firstLayer, count).totalBytes() > *usable - taken)
            --count;
        return count;
    }

    // Whether keys and values of a layer, which are one allocation, are not too much for the device.
    [[nodiscard]] bool canHoldCache(const DeviceInfo& device) const {
        return !device.maxAllocationBytes || device.id == "cpu" ||
               kvCacheBytes(device, 1) <= *device.maxAllocationBytes;
    }

    [[nodiscard]] std::int64_t kvCacheBytes(const DeviceInfo& device,
                                            std::int64_t layerCount) const {
        const LlamaConfig& config = m_request.config;
        if (opencl::ownsDevice(device.id))
            return opencl::kvCacheBytes({.layerCount = layerCount,
                                         .kvHeadCount = config.kvHeadCount,
                                         .headDim = config.headDim,
                                         .capacity = m_request.contextLength,
                                         .precision = m_request.kvPrecision});
        const std::int64_t element = m_request.kvPrecision == KvPrecision::F16 ? 2 : 4;
        return 2 * layerCount * config.kvHeadCount * config.headDim * m_request.contextLength *
               element;
    }

private:
    void addMatrix(const std::string& name, StagePlacement& placement) const {
        const CatalogTensor& tensor = m_checkpoint.tensors.at(name);
        placement.weightBytes +=
            matrixBytes(precisionOn(placement.device, m_request.precision), tensor.dtype,
                        tensor.shape.front(), tensor.shape.back());
        placement.storedBytes += tensor.sizeBytes();
    }

    void addVector(const std::string& name, StagePlacement& placement) const {
        const CatalogTensor& tensor = m_checkpoint.tensors.at(name);
        placement.weightBytes += tensor.elementCount() * 4;  // in f32 everywhere
        placement.storedBytes += tensor.sizeBytes();
    }

    const PlacementRequest& m_request;
    const Checkpoint& m_checkpoint;
};

Error wrongSplit(const PlacementRequest& request) {
    std::string given;
    for (const std::int64_t count : *request.split)
        given += (given.empty() ? "" : ",") + std::to_string(count);
    return {ErrorCode::InvalidRequest,
            "The split " + given +
                " does not suit this model: it needs one number for each of the " +
                std::to_string(request.devices.size()) + " devices, together " +
                std::to_string(request.config.layerCount) + " layers.",
            {}};
}

bool isSplitOf(const PlacementRequest& request) {
    const std::vector<std::int64_t>& split = *request.split;
    const bool inRange = std::all_of(split.begin(), split.end(), [&](std::int64_t count) {
        return count >= 0 && count <= request.config.layerCount;
    });
    return split.size() == request.devices.size() && inRange &&
           std::accumulate(split.begin(), split.end(), std::int64_t{0}) ==
               request.config.layerCount;
}

std::vector<std::int64_t> fill(const PlacementRequest& request, const Sizes& sizes) {
    std::vector<std::int64_t> split;
    std::int64_t next = 0;
    std::int64_t takenOnHost = 0;  // several devices may offer the same memory
    for (std::size_t i = 0; i < request.devices.size(); ++i) {
        const DeviceInfo& device = request.devices[i];
        std::int64_t limit = request.config.layerCount - next;
        if (i < request.layerLimits.size()) limit = std::min(limit, request.layerLimits[i]);
        split.push_back(sizes.fitting(device, next, limit, isOnHost(device) ? takenOnHost : 0));
        if (isOnHost(device) && split.back() > 0)
            takenOnHost += sizes.stage(device, next, split.back()).totalBytes();
        next += split.back();
    }
    return split;
}

Error doesNotFit(const PlacementRequest& request, const std::vector<std::int64_t>& split,
                 const Sizes& sizes) {
    const DeviceInfo& last = request.devices.back();
    const std::int64_t placed = std::accumulate(split.begin(), split.end(), std::int64_t{0});
    const std::int64_t rest = request.config.layerCount - placed;
    const StagePlacement missing = sizes.stage(last, placed, rest);
    std::string devices;
    for (const DeviceInfo& device : request.devices)
        devices += (devices.empty() ? "" : ", ") + device.id;
    return {
        ErrorCode::OutOfMemory,
        "The model does not fit: " + std::to_string(placed) + " of its " +
            std::to_string(request.config.layerCount) + " layers fit on " + devices + ", " +
            (rest == 1 ? "the other one needs " : "the others need ") +
            sizeText(missing.totalBytes()) +
            " more. Add a device (cpu is one), or use a smaller precision or a shorter context.",
        {}};
}

void addHostNote(PlacementPlan& plan) {
    std::int64_t together = 0;
    for (const StagePlacement& stage : plan.stages)
        if (isOnHost(stage.device)) together += stage.totalBytes();
    const std::int64_t total = totalMemoryBytes();
    if (total > 0 && together > total)
        plan.notes.push_back("The layers in this computer's own memory need " + sizeText(together) +
                             " of it, and it has " + sizeText(total) +
                             ". A shorter context or a smaller precision needs less.");
}

// Where packing changes nothing although it was asked for.
void addPackingNotes(const PlacementRequest& request, const Checkpoint& checkpoint,
                     PlacementPlan& plan) {
    if (request.precision != Precision::Packed) return;
    if (!makesAny(request.precision, checkpoint.tensors)) {
        plan.notes.push_back(
            "Only bf16 and f16 are packed, and no matrix of this model is stored as one of these "
            "and "
            "gets smaller: the weights stay as in the file.");
        return;
    }
    for (const StagePlacement& stage : plan.stages)
        if (stage.device.id != "cpu")
            plan.notes.push_back("Only the processor packs weights; on " + stage.device.id +
                                 " they stay as in the file.");
}

void addNotes(const PlacementRequest& request, const Sizes& sizes, PlacementPlan& plan) {
    // A device is passed over when a later one got layers that it might have taken.
    std::size_t stage = 0;
    for (const DeviceInfo& device : request.devices) {
        if (stage == plan.stages.size()) break;
        if (plan.stages[stage].device.id == device.id)
            ++stage;
        else if (!request.split)
            plan.notes.push_back("The device " + device.id + " (" + device.name + ") " +
                                 (sizes.canHoldCache(device)
                                      ? std::string("has no room for a single layer")
                                      : "gives at most " + sizeText(*device.maxAllocationBytes) +
                                            " at once, the keys and values of a layer need " +
                                            sizeText(sizes.kvCacheBytes(device, 1)) +
                                            " at this context,") +
                                 " and is not used.");
    }
    for (const StagePlacement& placed : plan.stages)
        if (placed.usableBytes && placed.totalBytes() > *placed.usableBytes)
            plan.notes.push_back("The " + placeText(placed) + " need " +
                                 sizeText(placed.totalBytes()) + ", but it has " +
                                 sizeText(*placed.usableBytes) + " to give.");
    addHostNote(plan);
}

}  // namespace

bool PlacementPlan::usesCpu() const {
    return std::any_of(stages.begin(), stages.end(),
                       [](const StagePlacement& stage) { return stage.device.id == "cpu"; });
}

bool isMade(Precision precision, const CatalogTensor& tensor) {
    return tensor.shape.size() == 2 &&
           madeFormat(precision, tensor.dtype, tensor.shape[0], tensor.shape[1]);
}

bool makesAny(Precision precision, const TensorCatalog& tensors) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [precision](const auto& named) { return isMade(precision, named.second); });
}

std::string placeText(const StagePlacement& stage) {
    return "layers " + std::to_string(stage.firstLayer) + " to " +
           std::to_string(stage.firstLayer + stage.layerCount - 1) + " on " + stage.device.id;
}

Result<PlacementPlan> planPlacement(const PlacementRequest& request, const Checkpoint& checkpoint) {
    const Sizes sizes(request, checkpoint);
    if (request.split && !isSplitOf(request)) return wrongSplit(request);
    const std::vector<std::int64_t> split = request.split ? *request.split : fill(request, sizes);
    if (std::accumulate(split.begin(), split.end(), std::int64_t{0}) != request.config.layerCount)
        return doesNotFit(request, split, sizes);
    PlacementPlan plan;
    std::int64_t next = 0;
    for (std::size_t i = 0; i < split.size(); ++i) {
        if (split[i] == 0) continue;
        plan.stages.push_back(sizes.stage(request.devices[i], next, split[i]));
        next += split[i];
    }
    addNotes(request, sizes, plan);
    addPackingNotes(request, checkpoint, plan);
    return plan;
}

}  // namespace qllama
