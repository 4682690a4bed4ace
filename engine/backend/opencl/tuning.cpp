#include "engine/backend/opencl/tuning.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <optional>

#include "engine/backend/opencl/cache_file.h"
#include "engine/backend/opencl/kernel_sources.h"

namespace qllama::opencl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kCompilingAtMost{1000};  // for each of the two products
constexpr std::chrono::milliseconds kMeasuringAtMost{250};
constexpr int kRounds = 7;
constexpr double kRunMs = 6;  // that one product shall take, on slow devices with fewer rows
constexpr std::int64_t kTimesTheCache = 4;  // what is read before anything is read again
constexpr double kWorthwhile = 0.97;        // of the usual plan's time: less is within the noise
constexpr std::int64_t kPromptPositions = 128;
constexpr double kNever = std::numeric_limits<double>::infinity();

template <typename Plan>
struct Outcome {
    Plan plan;
    double gain = 1;  // times as fast as the usual plan
    bool isComplete = true;
};

std::vector<MatvecPlan> plansFor(const PlanLimits& limits, const MatvecPlan&) {
    return matvecPlans(limits);
}

std::vector<MatmulPlan> plansFor(const PlanLimits& limits, const MatmulPlan&) {
    return matmulPlans(limits);
}

// Runs products with the first rows of matrices that lie on the device, all of one shape.
class Stopwatch {
public:
    Stopwatch(DeviceQueue& queue, ActivationRounding* rounding,
              std::span<const ClMatrix* const> matrices)
        : m_queue(queue), m_rounding(rounding), m_matrices(matrices) {}

    Result<void> prepare() {
        const std::string what = "measuring kernels";
        const std::int64_t columns = m_matrices.front()->columns();
        QLLAMA_TRY(m_in, m_queue.allocate(kPromptPositions * columns * 4, true, what));
        QLLAMA_TRY(auto out, m_queue.allocate(kPromptPositions * rows() * 4, true, what));
        m_out.emplace(std::move(out));
        return {};
    }

    // Of the product to measure; to be called before run().
    void size(WeightKernels& kernels, std::int64_t n) {
        m_rows = rowsFor(kernels, n);
        m_count = 1;
        if (n > 1 || m_rows < rows()) return;
        // One position reads each weight once: what still lay in a cache would say little about memory.
        const std::int64_t wanted = kTimesTheCache * m_queue.cacheBytes();
        const std::int64_t each = m_matrices.front()->bytesOf(m_rows);
        m_count = std::clamp<std::int64_t>((wanted + each - 1) / each, 1,
                                           static_cast<std::int64_t>(m_matrices.size()));
    }

    // kNever where it fails.
    double run(WeightKernels& kernels, std::int64_t n) {
        const double ms = m_queue.time([&] {
            for (std::int64_t i = 0; i < m_count; ++i)
                multiplyBy(*m_matrices[static_cast<std::size_t>(i)], kernels, m_rows, n);
        });
        return m_queue.takeFailure().ok() && ms > 0 ? ms : kNever;
    }

private:
    [[nodiscard]] std::int64_t rows() const { return m_matrices.front()->pieces().front().rows; }

    void multiplyBy(const ClMatrix& matrix, WeightKernels& kernels, std::int64_t rows,
                    std::int64_t n) {
        const WeightFormat& format = *kernels.format;
        const ClMatrix part({.rows = rows,
                             .columns = matrix.columns(),
                             .tileRows = format.tileRows,
                             .tileBytes = format.tileBytes(matrix.columns())},
                            &kernels, {{matrix.pieces().front().memory, 0, rows}}, nullptr);
        const MatmulTask tasks[] = {{&part, &*m_out}};
        multiply(m_queue, m_rounding, tasks, m_in, n);
    }

    // How many rows keep the device busy for about kRunMs.
    std::int64_t rowsFor(WeightKernels& kernels, std::int64_t n) {
        constexpr std::int64_t kStep = 64;
        std::int64_t count = std::min(rows(), n == 1 ? 16 * kStep : 2 * kStep);
        m_rows = count;
        m_count = 1;
        run(kernels, n);  // the first run may compile, or bring pages into memory
        const double ms = run(kernels, n);
        if (ms == kNever) return count;
        const double wanted = static_cast<double>(count) * kRunMs / ms;
        if (wanted >= static_cast<double>(rows())) return rows();
        return std::clamp(static_cast<std::int64_t>(wanted) / kStep * kStep,
                          std::min(rows(), kStep), rows());
    }

    DeviceQueue& m_queue;
    ActivationRounding* m_rounding;
    std::span<const ClMatrix* const> m_matrices;
    std::int64_t m_rows = 0;
    std::int64_t m_count = 1;  // matrices of a run
    cl::Buffer m_in;
    std::optional<ClBuffer> m_out;
};

template <typename Plan>
struct Trial {
    Plan plan;
    WeightKernels kernels;
    double ms = kNever;  // the best of its runs
};

// The plans that compile, the usual one first. Sets `isComplete` to whether there was time for all.
template <typename Plan>
Result<std::vector<Trial<Plan>>> compile(DeviceQueue& queue, const WeightKernels& kernels,
                                         const std::vector<Plan>& plans, bool& isComplete,
                                         const std::stop_token& stop) {
    const auto deadline = Clock::now() + kCompilingAtMost;
    std::vector<Trial<Plan>> trials;
    for (const Plan& plan : plans) {
        if (stop.stop_requested()) return cancelledError();
        isComplete = trials.empty() || Clock::now() < deadline;
        if (!isComplete) break;
        Trial<Plan> trial{plan, kernels};
        if (usePlan(queue, plan, trial.kernels).ok()) trials.push_back(std::move(trial));
    }
    return trials;
}

// The trials' runs in turn, so that what else the machine does slows all of them.
template <typename Plan>
Result<void> measure(Stopwatch& stopwatch, std::vector<Trial<Plan>>& trials, std::int64_t n,
                     const std::stop_token& stop) {
    const auto deadline = Clock::now() + kMeasuringAtMost;
    stopwatch.size(trials.front().kernels, n);
    for (int round = 0; round < kRounds; ++round)
        for (Trial<Plan>& trial : trials) {
            if (stop.stop_requested()) return cancelledError();
            if (Clock::now() > deadline) return {};
            trial.ms = std::min(trial.ms, stopwatch.run(trial.kernels, n));
        }
    return {};
}

// n positions at a time.
template <typename Plan>
Result<Outcome<Plan>> bestPlan(DeviceQueue& queue, const WeightKernels& kernels, const Plan& usual,
                               std::int64_t n, Stopwatch& stopwatch, const std::stop_token& stop) {
    Outcome<Plan> outcome{usual};
    QLLAMA_TRY(auto trials,
               compile(queue, kernels, plansFor(kernels.limits, usual), outcome.isComplete, stop));
    if (trials.size() < 2) return outcome;
    QLLAMA_CHECK(measure(stopwatch, trials, n, stop));
    const double usualMs = trials.front().ms;
    const auto best = std::min_element(trials.begin(), trials.end(),
                                       [](const auto& a, const auto& b) { return a.ms < b.ms; });
    if (best->ms < usualMs * kWorthwhile) {
        outcome.plan = best->plan;
        outcome.gain = usualMs / best->ms;
    }
    return outcome;
}

CacheFile fileFor(const DeviceQueue& queue, const WeightKernels& kernels, const ClMatrix& matrix) {
    const std::string matvec = matvecFile(kernels);
    const std::string matmul = matmulFile(kernels);
    std::string key = queue.cacheKey() + std::to_string(queue.computeUnits()) + '\n' +
                      std::string(kernels.format->name) + ' ' + std::to_string(matrix.rows()) +
                      ' ' + std::to_string(matrix.columns()) + '\n' + matvec + '\n' +
                      std::string(kernelSource(matvec)) + '\n' + matmul + '\n' +
                      std::string(kernelSource(matmul)) + '\n';
    for (const MatvecPlan& plan : matvecPlans(kernels.limits))
        key += textOf(plan, kernels.limits) + '\n';
    for (const MatmulPlan& plan : matmulPlans(kernels.limits))
        key += textOf(plan, kernels.limits) + '\n';
    return {"tuning", std::move(key)};
}

std::string contentOf(const WeightKernels& kernels) {
    return textOf(kernels.matvecPlan, kernels.limits) + '\n' +
           textOf(kernels.matmulPlan, kernels.limits) + '\n';
}

// True when `content` names plans of today, and they compile.
bool useRemembered(DeviceQueue& queue, const std::string& content, WeightKernels& kernels) {
    for (const MatvecPlan& matvec : matvecPlans(kernels.limits))
        for (const MatmulPlan& matmul : matmulPlans(kernels.limits)) {
            WeightKernels planned = kernels;
            planned.matvecPlan = matvec;
            planned.matmulPlan = matmul;
            if (contentOf(planned) != content) continue;
            planned = kernels;
            if (!usePlan(queue, matvec, planned).ok() || !usePlan(queue, matmul, planned).ok())
                return false;
            kernels = std::move(planned);
            return true;
        }
    return false;
}

std::string decimals(const char* format, double value) {
    char text[32];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

std::string plansText(const DeviceQueue& queue, const WeightKernels& kernels,
                      const ClMatrix& matrix) {
    return "Kernels of " + queue.text() + " for " + std::string(kernels.format->name) +
           " weights of " + std::to_string(matrix.rows()) + " x " +
           std::to_string(matrix.columns()) + ": one position with " +
           textOf(kernels.matvecPlan, kernels.limits) + ", several with " +
           textOf(kernels.matmulPlan, kernels.limits);
}

Result<std::string> measureBoth(DeviceQueue& queue, ActivationRounding* rounding,
                                WeightKernels& kernels, std::span<const ClMatrix* const> alike,
                                const std::optional<CacheFile>& file, const std::stop_token& stop) {
    const auto start = Clock::now();
    const ClMatrix& matrix = *alike.front();
    Stopwatch stopwatch(queue, rounding, alike);
    if (const auto ready = stopwatch.prepare(); !ready.ok())
        return plansText(queue, kernels, matrix) + ", without measuring: " + ready.error().message;
    QLLAMA_TRY(const auto matvec, bestPlan(queue, kernels, kernels.matvecPlan, 1, stopwatch, stop));
    QLLAMA_TRY(const auto matmul,
               bestPlan(queue, kernels, kernels.matmulPlan, kPromptPositions, stopwatch, stop));
    WeightKernels planned = kernels;
    if (usePlan(queue, matvec.plan, planned).ok() && usePlan(queue, matmul.plan, planned).ok())
        kernels = std::move(planned);
    // What there was no time to compile is tried at the next start.
    if (file && matvec.isComplete && matmul.isComplete) writeCacheFile(*file, contentOf(kernels));
    const std::chrono::duration<double> seconds = Clock::now() - start;
    return plansText(queue, kernels, matrix) + "; measured in " +
           decimals("%.2f", seconds.count()) + " s: " + decimals("%.2f", matvec.gain) + " and " +
           decimals("%.2f", matmul.gain) + " times as fast as without.";
}

}  // namespace

Result<std::string> tune(DeviceQueue& queue, ActivationRounding* rounding, WeightKernels& kernels,
                         std::span<const ClMatrix* const> alike, const std::stop_token& stop) {
    const ClMatrix& matrix = *alike.front();
    if (matvecPlans(kernels.limits).size() == 1 && matmulPlans(kernels.limits).size() == 1)
        return plansText(queue, kernels, matrix) + ", the only plans of this form.";
    std::optional<CacheFile> file;
    try {
        file = fileFor(queue, kernels, matrix);
    } catch (const cl::Error&) {
        // A driver that does not say what it is cannot be remembered.
    }
    const auto content = file ? readCacheFile(*file) : std::nullopt;
    if (content && useRemembered(queue, *content, kernels))
        return plansText(queue, kernels, matrix) + ", as measured at an earlier start.";
    return measureBoth(queue, rounding, kernels, alike, file, stop);
}

}  // namespace qllama::opencl
