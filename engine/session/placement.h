// Which layers go to which device, in exact bytes, before anything is loaded.
//
// A model is a pipeline: each device runs a contiguous range of layers, the first one also holds the
// embedding and the last one the output head. Between two devices only the hidden state travels.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/common/result.h"
#include "engine/model/llama_config.h"

namespace qllama {

struct StagePlacement {
    DeviceInfo device;
    std::int64_t firstLayer = 0;
    std::int64_t layerCount = 0;
    std::int64_t weightBytes = 0;
    std::int64_t kvCacheBytes = 0;  // when full
    std::int64_t scratchBytes = 0;
    std::int64_t storedBytes = 0;  // of the weights in the file: what loading reads
    // What the plan may fill: the device's memory less a margin; empty when it is not known, and for
    // the CPU, whose weights may stay in the mapped file.
    std::optional<std::int64_t> usableBytes;

    [[nodiscard]] std::int64_t totalBytes() const {
        return weightBytes + kvCacheBytes + scratchBytes;
    }
};

// "layers 0 to 11 on opencl:0": how messages and errors name a stage.
std::string placeText(const StagePlacement& stage);

struct PlacementPlan {
    std::vector<StagePlacement> stages;  // in the order of the layers, none empty
    std::vector<std::string> notes;      // why it is not simply what was asked for

    [[nodiscard]] bool usesCpu() const;
};

struct PlacementRequest {
    LlamaConfig config;
    Precision precision = Precision::Source;
    std::int64_t contextLength = 0;
    KvPrecision kvPrecision = KvPrecision::F16;
    std::vector<DeviceInfo> devices;  // in the order of the layers
    // Layers of each device; without it each takes what fits into its memory, the last one the rest.
    std::optional<std::vector<std::int64_t>> split = {};
    // At most so many layers on each device (same order), known from failures; empty: no limit.
    std::vector<std::int64_t> layerLimits = {};
};

// Whether a precision makes a matrix anew, or any of them, on a device that can.
[[nodiscard]] bool isMade(Precision precision, const CatalogTensor& tensor);
bool makesAny(Precision precision, const TensorCatalog& tensors);

// Fails with InvalidRequest for a split that is not one of this model, with OutOfMemory when the
// layers do not fit; the message names both numbers. A device that would get no layer is left out.
Result<PlacementPlan> planPlacement(const PlacementRequest& request, const Checkpoint& checkpoint);

}  // namespace qllama
