// Every kernel once in both forms, on shapes small enough for a simulator that checks each memory
// access (Oclgrind), the products with every plan; of one form with the argument cpu or gpu. Says what
// is wrong and exits with 1 where a result is off.
#include <cstdio>
#include <initializer_list>
#include <string_view>

#include "engine/backend/opencl/opencl_backend.h"
#include "engine/backend/reference/reference_backend.h"
#include "tests/support/backends.h"

using namespace qllama;
using namespace qllama::test;

namespace {

int failures = 0;

void expectClose(const char* what, const std::vector<float>& got, const std::vector<float>& wanted,
                 float bound) {
    const float difference = largestDifference(got, wanted);
    if (difference <= bound) return;
    std::fprintf(stderr, "%s: off by %g, allowed %g\n", what, static_cast<double>(difference),
                 static_cast<double>(bound));
    ++failures;
}

void checkMatmul(Backend& backend, Backend& reference, std::initializer_list<DType> dtypes) {
    constexpr std::int64_t kRows = 21;
    constexpr std::int64_t kColumns = 43;
    for (const DType dtype : dtypes)
        for (const std::int64_t n : {1, 2, 7}) {
            const auto weights =
                tensorOf("w", {kRows, kColumns}, dtype, randomValues(kRows * kColumns, 11, 1.0F));
            const auto x = randomValues(n * kColumns, 12, 1.0F);
            const auto before = randomValues(n * kRows, 13, 1.0F);
            // k u sum|w x|
            expectClose("matmul", multiply(backend, weights, x, before, n),
                        multiply(reference, weights, x, before, n), kUnit * kColumns * kColumns);
        }
}

void checkQuantisedMatmul(Backend& backend, Backend& reference) {
    constexpr std::int64_t kRows = 21;
    constexpr std::int64_t kColumns = 43;
    for (const Precision precision : {Precision::Q8, Precision::Q4})
        for (const std::int64_t n : {1, 7}) {
            const auto weights = tensorOf("w", {kRows, kColumns}, DType::F32,
                                          randomValues(kRows * kColumns, 11, 1.0F));
            const auto x = randomValues(n * kColumns, 12, 1.0F);
            const auto before = randomValues(n * kRows, 13, 1.0F);
            expectClose("quantised matmul", multiply(backend, weights, x, before, n, precision),
                        multiply(reference, weights, x, before, n, precision),
                        kUnit * kColumns * kColumns * 2);
        }
}

void checkAttention(Backend& backend, Backend& reference) {
    for (const AttentionCase& test : {AttentionCase{{4, 2, 6}, 34, 3, KvPrecision::F16},
                                      AttentionCase{{2, 2, 10}, 0, 2, KvPrecision::F32},
                                      AttentionCase{{2, 1, 8}, 300, 1, KvPrecision::F16}})
        // A rotated key may round to the neighbouring half: one part in 2^11 of a score.
        expectClose("attention", attendInSteps(backend, test, test.rows),
                    attendInSteps(reference, test, test.rows), 4.0F / 2048.0F);
}

std::vector<float> elementwise(Backend& backend, Precision precision) {
    constexpr std::int64_t kWidth = 27;
    const auto weights = tensorOf("w", {5, kWidth}, DType::F16, randomValues(5 * kWidth, 1, 1.0F));
    auto matrix = backend.loadMatrix(weights, precision, {});
    const auto x = bufferOf(backend, std::vector<float>(2 * kWidth));
    const auto h = bufferOf(backend, std::vector<float>(2 * kWidth));
    const auto gain = bufferOf(backend, randomValues(kWidth, 2, 1.0F));
    const std::int32_t tokens[] = {4, 0};
    backend.embed(*matrix.value(), tokens, *x);
    backend.rmsNorm(*x, 0, *gain, 1e-5F, kWidth, 2, *h);
    backend.swiglu(*h, *x, kWidth, 2);
    return readAll(backend, *h, 2 * kWidth);
}

void checkSpeedProbe(Backend& backend) {
    const auto probe = backend.createSpeedProbe({});
    const auto measured = probe.ok() ? probe.value()->measureGbPerSecond({}) : probe.error();
    if (measured.ok() && measured.value() > 0) return;
    std::fprintf(stderr, "reading memory: %s\n",
                 measured.ok() ? "no time passed" : measured.error().text().c_str());
    ++failures;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view only = argc > 1 ? argv[1] : "";
    constexpr std::size_t kMostPlans = 4;  // of kernel_plans.cpp
    const auto reference = createReferenceBackend({.roundsActivations = true});
    for (const auto form : {opencl::FormChoice::Cpu, opencl::FormChoice::Gpu})
        for (std::size_t plan = 0; plan < kMostPlans; ++plan) {
            if (!only.empty() && only != (form == opencl::FormChoice::Cpu ? "cpu" : "gpu"))
                continue;
            auto backend = opencl::createOpenClBackend(
                "opencl:0", {.form = form, .plan = plan, .probeBytes = 40'000});
            if (!backend.ok()) {
                std::fprintf(stderr, "%s\n", backend.error().text().c_str());
                return 1;
            }
            Backend& device = *backend.value();
            checkQuantisedMatmul(device, *reference);
            if (plan > 0) {
                checkMatmul(device, *reference, {DType::F16});
                continue;
            }
            checkMatmul(device, *reference, {DType::F16, DType::BF16, DType::F32});
            checkAttention(device, *reference);
            checkSpeedProbe(device);
            for (const Precision precision : {Precision::Source, Precision::Q8, Precision::Q4})
                expectClose("elementwise", elementwise(device, precision),
                            elementwise(*reference, precision), 64.0F * kUnit);
        }
    return failures == 0 ? 0 : 1;
}
