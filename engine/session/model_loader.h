// From a path and a few choices to a model that is ready to generate.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/common/result.h"
#include "engine/model/transformer.h"
#include "engine/session/placement.h"
#include "engine/tokenizer/tokenizer.h"

namespace qllama {

struct LoadRequest {
    std::uint64_t id = 0;
    CheckpointLocation location;
    // "cpu", "auto", "opencl:N", or several with commas between them: each runs a range of layers.
    std::string device = "cpu";
    std::optional<std::vector<std::int64_t>> split;  // layers of each; empty: by their memory
    std::optional<double> deviceShare;  // part of the layers for the device, the rest on the CPU
    bool mayUseCpu = true;              // where one device named alone is too small; false: fail
    // Asked, on the loading or generating thread, when a device other than the CPU fails or is not
    // there: true lets its layers go elsewhere, at last to the CPU, with a note. Empty: never.
    std::function<bool(const Error&)> mayLeaveDevice = {};
    // Told on the loading thread where the layers are about to go, before they are loaded; again
    // when a device turns out to hold less and the plan is another one.
    std::function<void(const PlacementPlan&)> planMade = {};
    bool profile = false;  // time the kernels of OpenCL devices
    // Plans as if nothing lay on the devices: a model in use makes room before the next one comes.
    bool ignoresFreeMemory = false;
    Precision precision = Precision::Source;
    int threadCount = 0;         // 0: physical cores
    bool needsTokenizer = true;  // false: LoadedModel::tokenizer stays empty (benchmarks)
    std::optional<std::int64_t> contextLength;  // empty: what the model says, else 2048
    std::optional<KvPrecision> kvPrecision;     // empty: automaticKvPrecision()
    // Where quantised weights are kept between runs, usually defaultWeightCacheFolder(); empty:
    // they are not.
    std::filesystem::path weightCacheFolder = {};
};

// Facts about a loaded model, for status bars and the "model" event.
struct ModelInfo {
    std::string name;
    std::string path;
    std::int64_t parameterCount = 0;
    LlamaConfig config;
    std::string precision;  // what is really used: "f16", "source (bf16)"
    DeviceInfo device;      // the first, where there are several
    PlacementPlan placement;
    int threadCount = 0;
    std::int64_t contextLength = 0;
    std::int64_t weightBytes = 0;
    std::int64_t kvCacheBytes = 0;
    std::int64_t bytesPerToken = 0;
    double loadMs = 0;
    std::vector<std::string> notes;
    std::vector<std::string> tuning;  // Backend::tuning() of each device
};

// Member order is destruction order reversed: the transformer goes before the backends it borrows.
struct LoadedModel {
    ModelInfo info;
    LoadRequest request;  // that it was loaded by
    std::shared_ptr<const Tokenizer> tokenizer;
    std::vector<std::unique_ptr<Backend>> backends;
    std::unique_ptr<Transformer> transformer;
};

// What LoadRequest::kvPrecision means when it is empty: f16, but f32 beside f32 weights and where
// the whole cache takes at most 32 MiB in f32.
KvPrecision automaticKvPrecision(Precision precision, const TensorCatalog& tensors,
                                 const LlamaConfig& config, std::int64_t contextLength);

// Where the layers would go and what that takes, without loading them.
Result<PlacementPlan> planModel(const LoadRequest& request, std::stop_token stop);
Result<PlacementPlan> planModel(const LoadRequest& request, const Checkpoint& checkpoint,
                                const LlamaConfig& config);

// Puts the layers of the device whose `failure` ended the last forward() on the CPU; other devices keep
// theirs. The context is empty afterwards. What it says of that is the last of info.notes. On failure,
// which may be Cancelled, `model` is as it was.
Result<void> leaveDevice(LoadedModel& model, const Error& failure, std::stop_token stop);

// Error code of a missing tokenizer.model is NotFound with where = "tokenizer.model": the front end
// then asks for the file and tries again with location.tokenizer set.
Result<std::shared_ptr<const Tokenizer>> openTokenizer(const Checkpoint& checkpoint);

Result<std::unique_ptr<LoadedModel>> loadModel(const LoadRequest& request,
                                               const LoadProgressSink& progress,
                                               std::stop_token stop);

}  // namespace qllama
