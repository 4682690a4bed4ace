// Lets tests pretend that a device refuses an allocation or a command. Nothing in the program itself
// sets a hook.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace qllama::opencl {

enum class FaultPoint { Allocation, Enqueue };

// Gets the device's id and, for an allocation, its bytes; returns the OpenCL status to pretend, 0 for
// none. An empty hook switches it off. Process-wide; set it while no backend is at work.
using FaultHook =
    std::function<int(FaultPoint point, const std::string& deviceId, std::int64_t sizeBytes)>;
void setFaultHook(FaultHook hook);

// The status that the hook wants here.
int injectedFault(FaultPoint point, const std::string& deviceId, std::int64_t sizeBytes);

}  // namespace qllama::opencl
