// Which instruction set the kernels use; Highway keeps the choice for the whole process.
#include <hwy/targets.h>

#include <string>

#include "engine/backend/cpu/cpu_backend.h"

namespace qllama {
namespace {

// Targets are bits, the best one the lowest; only those compiled into some kernel count: a kernel
// without AVX3_DL runs as AVX3 where that is chosen.
std::int64_t usableTargets() {
    std::int64_t targets = hwy::SupportedTargets();
#if HWY_ARCH_X86
    // Every processor with the rest of AVX3_DL has GFNI, but a virtual machine may hide it.
    if (!__builtin_cpu_supports("gfni")) targets &= ~std::int64_t{HWY_AVX3_DL};
#endif
    // Highway 1.0 asks the processor anew each time, and chooses the best one whatever is disabled.
    hwy::GetChosenTarget().Update(targets);
    return targets & HWY_TARGETS;
}

}  // namespace

namespace cpu {

std::vector<std::string> simdTargetsFound() {
    std::vector<std::string> names;
    for (std::int64_t left = usableTargets(); left != 0; left &= left - 1)
        names.emplace_back(hwy::TargetName(left & -left));
    return names;
}

}  // namespace cpu

Result<void> forceCpuTarget(const std::string& name) {
    hwy::DisableTargets(0);
    const std::int64_t usable = usableTargets();
    std::string known;
    for (std::int64_t left = usable; left != 0; left &= left - 1) {
        const std::int64_t target = left & -left;
        if (name == hwy::TargetName(target)) {
            hwy::DisableTargets(target - 1);  // everything better
            usableTargets();
            return {};
        }
        known += (known.empty() ? "" : ", ") + std::string(hwy::TargetName(target));
    }
    return Error{ErrorCode::InvalidRequest,
                 "This processor and program have no instruction set '" + name +
                     "'. Choose one of: " + known + ".",
                 {}};
}

}  // namespace qllama
