#include "engine/backend/opencl/kernel_plans.h"

#include <algorithm>

namespace qllama::opencl {
namespace {

std::string define(const char* name, std::int64_t value) {
    return std::string(" -D") + name + "=" + std::to_string(value);
}

// Items of a work-group of the GPU form's matvec.
std::int64_t itemsOf(const MatvecPlan& plan, const PlanLimits& limits) {
    return plan.groups * limits.team;
}

}  // namespace

std::vector<MatvecPlan> matvecPlans(const PlanLimits& limits) {
    // Neighbouring groups go on along the same streams, and a core that was held up leaves the last ones
    // to the others.
    if (limits.form == KernelForm::Cpu)
        return {{.groups = 128, .rows = limits.tileRows > 1 ? 2 : 4}};
    std::vector<MatvecPlan> plans;
    if (limits.tileRows > 1)
        plans = {{4, 1}, {2, 1}, {8, 1}};
    else
        plans = {{4, 2}, {4, 4}, {4, 1}, {8, 2}};
    std::erase_if(plans, [&](const MatvecPlan& plan) {
        return itemsOf(plan, limits) > limits.largestWorkGroup;
    });
    if (plans.empty()) plans.push_back({1, limits.tileRows > 1 ? 1 : 2});
    return plans;
}

std::vector<MatmulPlan> matmulPlans(const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu) {
        // With two vectors of rows 6 positions take 12 sums, 2 weights and 1 activation of 16
        // registers; processors with vectors of 16 floats have 32.
        if (limits.tileRows > 1) return {{.tokens = 3}, {.tokens = 4}, {.tokens = 2}};
        if (limits.lanes == 16) return {{.tokens = 6}, {.tokens = 12}};
        return {{.tokens = 6}};
    }
    std::vector<MatmulPlan> plans;
    for (const auto& [side, each] : {std::pair{16, 4}, {16, 8}, {8, 4}, {8, 8}})
        if (side * side <= limits.largestWorkGroup) plans.push_back({.side = side, .each = each});
    if (plans.empty()) plans.push_back({.side = 1, .each = 4});
    return plans;
}

std::string optionsOf(const MatvecPlan& plan, const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu) return define("ROWS", plan.rows);
    return define("LOCAL", itemsOf(plan, limits)) + define("TEAM", limits.team) +
           (limits.tileRows > 1 ? "" : define("ROWS", plan.rows));
}

std::string optionsOf(const MatmulPlan& plan, const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu) return define("TOKENS", plan.tokens);
    return define("SIDE", plan.side) + define("EACH", plan.each);
}

std::string textOf(const MatvecPlan& plan, const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu) return std::to_string(plan.groups) + " work-groups a unit";
    const std::string items = "work-groups of " + std::to_string(itemsOf(plan, limits));
    return limits.tileRows > 1 ? items
                               : items + ", " + std::to_string(plan.rows) + " rows together";
}

std::string textOf(const MatmulPlan& plan, const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu)
        return std::to_string(plan.tokens) + " positions in registers";
    const std::string side = std::to_string(plan.side * plan.each);
    return "tiles of " + side + " x " + side + " by work-groups of " +
           std::to_string(plan.side * plan.side);
}

}  // namespace qllama::opencl
