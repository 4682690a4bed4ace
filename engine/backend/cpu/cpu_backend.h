// The CPU: a persistent thread pool over SIMD kernels chosen at run time.
#pragma once

#include <memory>

#include "engine/backend/backend.h"

namespace qllama::cpu {

DeviceInfo describeCpu();

// threadCount 0: one thread for each physical core.
std::unique_ptr<Backend> createCpuBackend(int threadCount);

}  // namespace qllama::cpu
