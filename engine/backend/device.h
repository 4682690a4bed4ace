// The devices a model can run on, as facts: nothing here is guessed, and what is unknown is said so.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/common/result.h"

namespace qllama {

enum class DeviceKind { Cpu, Gpu, Accelerator, Other };

struct DeviceInfo {
    std::string id;    // "cpu", "opencl:0": what --device takes and the menu stores
    std::string name;  // "AMD EPYC", "NVIDIA GeForce RTX 3090 Ti"
    std::string vendor;
    std::string platform;  // OpenCL platform, or "native"
    std::string driver;
    DeviceKind kind = DeviceKind::Cpu;
    int computeUnits = 0;  // physical cores for the CPU
    std::optional<std::int64_t> globalMemoryBytes;
    std::optional<std::int64_t> freeMemoryBytes;  // when it was asked; few drivers tell
    std::optional<std::int64_t> maxAllocationBytes;
    bool hasHalfPrecision = false;
    bool isHostProcessor = false;   // the CPU itself, also when OpenCL offers it
    bool sharesHostMemory = false;  // the CPU, or a graphics unit without memory of its own
    std::string simdTarget;         // CPU: the instruction set chosen, "AVX2"
    std::vector<std::string> simdTargetsFound;
};

struct DeviceList {
    std::vector<DeviceInfo> devices;  // "cpu" is always the first
    std::vector<std::string> notes;   // what is missing and how to get it, in sentences
};

// Asks every backend in the table. May take a moment (drivers load); any thread.
DeviceList listDevices();

// The facts of one device, by its id, without asking the other backends. Fails with Device, and the
// list of what there is, for an unknown one.
Result<DeviceInfo> describeDevice(const std::string& id);

// Makes the CPU kernels use a lower instruction set than the best one found (for tests and
// comparisons), by a name of DeviceInfo::simdTargetsFound. Process-wide; call it before a model is
// loaded and while nothing runs.
Result<void> forceCpuTarget(const std::string& name);

}  // namespace qllama
