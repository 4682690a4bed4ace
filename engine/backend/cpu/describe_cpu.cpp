#include <fstream>
#include <string>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/common/host_memory.h"
#include "engine/common/thread_pool.h"

namespace qllama::cpu {
namespace {

std::string cpuInfoField(const std::string& key) {
    std::ifstream facts("/proc/cpuinfo");
    for (std::string line; std::getline(facts, line);) {
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos || !line.starts_with(key)) continue;
        const std::size_t start = line.find_first_not_of(" \t", colon + 1);
        if (start != std::string::npos) return line.substr(start);
    }
    return {};
}

}  // namespace

DeviceInfo describeCpu() {
    DeviceInfo info;
    info.id = "cpu";
    info.name = cpuInfoField("model name");
    if (info.name.empty()) info.name = "CPU";
    info.vendor = cpuInfoField("vendor_id");
    info.platform = "native";
    info.kind = DeviceKind::Cpu;
    info.computeUnits = physicalCoreCount();
    if (const std::int64_t total = totalMemoryBytes(); total > 0) info.globalMemoryBytes = total;
    info.isHostProcessor = true;
    info.sharesHostMemory = true;
    info.hasHalfPrecision = true;
    info.simdTargetsFound = simdTargetsFound();
    if (!info.simdTargetsFound.empty()) info.simdTarget = info.simdTargetsFound.front();
    return info;
}

}  // namespace qllama::cpu
