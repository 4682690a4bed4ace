// The CPU: a persistent thread pool over SIMD kernels chosen at run time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"

namespace qllama::cpu {

DeviceInfo describeCpu();

// Names of the instruction sets that processor and program both have, the one in use first.
std::vector<std::string> simdTargetsFound();

// threadCount 0: one thread for each physical core. `store` may be empty. Fails where the system
// grants fewer threads.
Result<std::unique_ptr<Backend>> createCpuBackend(int threadCount,
                                                  std::shared_ptr<BlockStore> store = {});

}  // namespace qllama::cpu
