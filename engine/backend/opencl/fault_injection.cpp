#include "engine/backend/opencl/fault_injection.h"

#include <utility>

namespace qllama::opencl {
namespace {

FaultHook& currentHook() {
    static FaultHook hook;
    return hook;
}

}  // namespace

void setFaultHook(FaultHook hook) {
    currentHook() = std::move(hook);
}

int injectedFault(FaultPoint point, const std::string& deviceId, std::int64_t sizeBytes) {
    const FaultHook& hook = currentHook();
    return hook ? hook(point, deviceId, sizeBytes) : 0;
}

}  // namespace qllama::opencl
