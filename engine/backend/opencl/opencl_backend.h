// Transformers on OpenCL devices: everything between the tokens and the logits happens there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/backend/backend.h"

namespace qllama::opencl {

bool ownsDevice(const std::string& deviceId);  // "opencl:N"
void listDevices(DeviceList& list);

// Memory that a backend takes for itself, at most, once it multiplies `positions` rows of at most
// `columns` activations with quantised weights.
std::int64_t roundingBytes(std::int64_t positions, std::int64_t columns);

// What a KV cache of that shape takes, padded as the kernels want it; each layer's is one allocation.
std::int64_t kvCacheBytes(const KvShape& shape);

enum class FormChoice { Automatic, Cpu, Gpu };

struct OpenClOptions {
    // The other form than the device's, for tests. Devices whose work-groups hold fewer than 32
    // items run the CPU's in any case.
    FormChoice form = FormChoice::Automatic;
    bool profile = false;
    std::shared_ptr<BlockStore> store = {};                  // see BackendOptions
    std::function<void(const std::string&)> compiling = {};  // see BackendOptions
    // Tests: treat the device's largest allocation as this much (0: as it is).
    std::int64_t largestAllocation = 0;
    int vectorLanes = 0;             // tests: 8 or 16, whatever the device's vectors hold
    std::string kernelOptions = {};  // tests: for the compiler, beside the usual ones
    // Tests: false has the driver allocate on the host's processor too, where our own memory begins as
    // zeros and hides that a kernel reads what nothing wrote.
    bool hostMemory = true;
    // Tests: the plans of that number (kernel_plans.h, counted round) instead of the best ones.
    std::optional<std::size_t> plan = {};
    // Weights of a matrix from which on tune() measures: below, starting a kernel is most of its time.
    std::int64_t tunedWeights = std::int64_t{1} << 20;
    // That createSpeedProbe() reads: far more than the caches hold.
    std::int64_t probeBytes = std::int64_t{512} << 20;
};

// Compiles the kernels or finds them in the cache. Fails with Device.
Result<std::unique_ptr<Backend>> createOpenClBackend(const std::string& deviceId,
                                                     const OpenClOptions& options);

}  // namespace qllama::opencl
