#include "engine/backend/opencl/kernel_plans.h"

#include <algorithm>

namespace qllama::opencl {
namespace {

std::string define(const char* name, std::int64_t value) {
    return std::string(" -D") + name + "=" + std::to_string(value);
}

// Of a tile's team; the first plan's is of kTeamItems where the device has room for so many.
constexpr std::int64_t kRowsOfItem = 4;
constexpr std::int64_t kTeamItems = 256;

MatmulPlan matmulPlan(std::int64_t side, std::int64_t rows, std::int64_t tokens) {
    return {.tokens = tokens, .side = side, .each = rows};
}

}  // namespace

std::int64_t itemsOf(const MatvecPlan& plan, const PlanLimits& limits) {
    return plan.groups *
           (limits.tileRows > 1 ? kRowsOfItem * limits.parts / plan.rows : limits.team);
}

std::int64_t stepOf(const MatvecPlan& plan, const PlanLimits& limits) {
    return limits.tileRows > 1 ? plan.groups : plan.groups * plan.rows;
}

std::vector<MatvecPlan> matvecPlans(const PlanLimits& limits) {
    // Neighbouring groups go on along the same streams, and a core that was held up leaves the last ones
    // to the others.
    if (limits.form == KernelForm::Cpu)
        return {{.groups = 128, .rows = limits.tileRows > 1 ? 2 : 4}};
    std::vector<MatvecPlan> plans;
    const std::int64_t usual = std::max<std::int64_t>(1, kRowsOfItem * limits.parts / kTeamItems);
    if (limits.tileRows > 1)
        plans = {{1, usual}, {2, usual}, {1, usual == 1 ? 2 : 1}, {2, 4}};
    else
        plans = {{2, 2}, {2, 1}, {4, 1}, {4, 2}};
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
    // Side, rows and positions of an item. Quantised weights are multiplied so fast that work-groups of
    // 64 items, which wait for each other less, do better.
    std::vector<MatmulPlan> plans;
    if (limits.tileRows > 1)
        plans = {matmulPlan(8, 4, 4), matmulPlan(8, 8, 8), matmulPlan(8, 4, 8),
                 matmulPlan(8, 8, 4)};
    else
        plans = {matmulPlan(16, 4, 4), matmulPlan(16, 4, 8), matmulPlan(8, 8, 8),
                 matmulPlan(8, 4, 4)};
    std::erase_if(plans, [&](const MatmulPlan& plan) {
        return plan.side * plan.side > limits.largestWorkGroup;
    });
    if (plans.empty()) plans.push_back(matmulPlan(4, 4, 4));
    return plans;
}

std::string optionsOf(const MatvecPlan& plan, const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu) return define("ROWS", plan.rows);
    return define("LOCAL", itemsOf(plan, limits)) +
           (limits.tileRows > 1 ? define("PARTS", limits.parts) + define("EACH", plan.rows)
                                : define("TEAM", limits.team) + define("ROWS", plan.rows));
}

std::string optionsOf(const MatmulPlan& plan, const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu) return define("TOKENS", plan.tokens);
    return define("SIDE", plan.side) + define("EACH", plan.each) + define("TOKENS", plan.tokens);
}

std::string textOf(const MatvecPlan& plan, const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu) return std::to_string(plan.groups) + " work-groups a unit";
    const std::string items = "work-groups of " + std::to_string(itemsOf(plan, limits));
    return items + ", " + std::to_string(plan.rows) +
           (limits.tileRows > 1 ? " blocks together" : " rows together");
}

std::string textOf(const MatmulPlan& plan, const PlanLimits& limits) {
    if (limits.form == KernelForm::Cpu)
        return std::to_string(plan.tokens) + " positions in registers";
    return "tiles of " + std::to_string(plan.side * plan.each) + " x " +
           std::to_string(plan.side * plan.tokens) + " by work-groups of " +
           std::to_string(plan.side * plan.side);
}

}  // namespace qllama::opencl
