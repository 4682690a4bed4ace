// How the products with weight matrices are divided among work-groups and registers: the few
// parameters whose best values differ from device to device (tuning.h finds them). None of them changes
// the order in which the terms of a sum are added, so results are the same, bit for bit, with each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace qllama::opencl {

// Which of the two forms of a kernel suits the device.
enum class KernelForm { Cpu, Gpu };

// What the device and the format of the weights allow.
struct PlanLimits {
    KernelForm form = KernelForm::Gpu;
    std::int64_t tileRows = 1;  // rows that the format stores together
    std::int64_t lanes = 8;     // CPU form: floats of a vector
    std::int64_t team = 64;     // GPU form: items that share a row's sum
    std::int64_t parts = 8;     // GPU form: that the sums of a tile's rows are added from
    std::int64_t largestWorkGroup = 1;
};

// matrix x vector
struct MatvecPlan {
    std::int64_t groups =
        1;                  // CPU form: work-groups a compute unit; GPU form: teams of a work-group
    std::int64_t rows = 1;  // read together; CPU form: or tiles; GPU form: or parts of a tile

    bool operator==(const MatvecPlan&) const = default;
};

// matrix x matrix
struct MatmulPlan {
    std::int64_t tokens = 1;  // positions whose sums are held in an item's registers
    std::int64_t side = 1;    // GPU form: items along each side of a work-group
    std::int64_t each = 1;    // GPU form: rows of an item

    bool operator==(const MatmulPlan&) const = default;
};

// What is worth trying; the first is for devices that nobody measured.
std::vector<MatvecPlan> matvecPlans(const PlanLimits& limits);
std::vector<MatmulPlan> matmulPlans(const PlanLimits& limits);

// GPU form of matrix x vector: items of a work-group, and rows (or tiles) that it takes.
std::int64_t itemsOf(const MatvecPlan& plan, const PlanLimits& limits);
std::int64_t stepOf(const MatvecPlan& plan, const PlanLimits& limits);

// For compiling.
std::string optionsOf(const MatvecPlan& plan, const PlanLimits& limits);
std::string optionsOf(const MatmulPlan& plan, const PlanLimits& limits);

// For people, and to remember them by: "8 work-groups a unit".
std::string textOf(const MatvecPlan& plan, const PlanLimits& limits);
std::string textOf(const MatmulPlan& plan, const PlanLimits& limits);

}  // namespace qllama::opencl
