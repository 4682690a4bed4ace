// Every kernel once in both forms, on shapes small enough for tools that check each memory access, the
// products with every plan; of one form with the argument cpu or gpu. With memcheck, for Valgrind, no
// memory starts as zeros and what earlier work-groups left behind counts as never written. Says what is
// wrong and exits with 1 where a result is off.
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "engine/backend/opencl/cl.h"
#include "engine/backend/opencl/discovery.h"
#include "engine/backend/opencl/opencl_backend.h"
#include "engine/backend/reference/reference_backend.h"
#include "tests/support/backends.h"

using namespace qllama;
using namespace qllama::test;

namespace {

int failures = 0;

// Fills the local memory of a device, which a driver for the processor keeps between work-groups, from a
// buffer that nothing was written to. Throws cl::Error.
class LocalMemorySpoiler {
public:
    LocalMemorySpoiler()
        : m_device(opencl::discover().devices.at(0).device),
          m_context(m_device),
          m_queue(m_context) {
        m_bytes = static_cast<cl_uint>(m_device.getInfo<CL_DEVICE_LOCAL_MEM_SIZE>());
        m_unwritten = cl::Buffer(m_context, CL_MEM_READ_WRITE, m_bytes);
        cl::Program program(m_context, std::string(R"(
            __kernel void spoil(__global const uchar* unwritten, __local uchar* memory, uint bytes) {
                for (uint i = get_local_id(0); i < bytes; i += get_local_size(0))
                    memory[i] = unwritten[i];
            })"));
        program.build();
        m_spoil = cl::Kernel(program, "spoil");
    }

    void spoil() {
        m_spoil.setArg(0, m_unwritten);
        m_spoil.setArg(1, cl::Local(m_bytes));
        m_spoil.setArg(2, m_bytes);
        m_queue.enqueueNDRangeKernel(m_spoil, cl::NullRange, cl::NDRange(8), cl::NDRange(1));
        m_queue.finish();
    }

private:
    cl::Device m_device;
    cl::Context m_context;
    cl::CommandQueue m_queue;
    cl::Kernel m_spoil;
    cl::Buffer m_unwritten;
    cl_uint m_bytes = 0;
};

std::optional<LocalMemorySpoiler> spoiler;

// Before each operation under test.
void spoilMemory() {
    if (spoiler) spoiler->spoil();
}

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
            spoilMemory();
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
            spoilMemory();
            expectClose("quantised matmul", multiply(backend, weights, x, before, n, precision),
                        multiply(reference, weights, x, before, n, precision),
                        kUnit * kColumns * kColumns * 2);
        }
}

void checkAttention(Backend& backend, Backend& reference) {
    for (const AttentionCase& test : {AttentionCase{{4, 2, 6}, 34, 3, KvPrecision::F16},
                                      AttentionCase{{2, 2, 10}, 0, 2, KvPrecision::F32},
                                      AttentionCase{{2, 1, 8}, 300, 1, KvPrecision::F16}}) {
        spoilMemory();
        // A rotated key may round to the neighbouring half: one part in 2^11 of a score.
        expectClose("attention", attendInSteps(backend, test, test.rows),
                    attendInSteps(reference, test, test.rows), 4.0F / 2048.0F);
    }
}

std::vector<float> elementwise(Backend& backend, Precision precision) {
    constexpr std::int64_t kWidth = 27;
    const auto weights = tensorOf("w", {5, kWidth}, DType::F16, randomValues(5 * kWidth, 1, 1.0F));
    auto matrix = backend.loadMatrix(weights, precision, {});
    const auto x = bufferOf(backend, std::vector<float>(2 * kWidth));
    const auto h = bufferOf(backend, std::vector<float>(2 * kWidth));
    const auto gain = bufferOf(backend, randomValues(kWidth, 2, 1.0F));
    const std::int32_t tokens[] = {4, 0};
    spoilMemory();
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
    const std::string_view argument = argc > 1 ? argv[1] : "";
    const bool memcheck = argument == "memcheck";
    const std::string_view only = memcheck ? "" : argument;
    if (memcheck) spoiler.emplace();
    constexpr std::size_t kMostPlans = 4;  // of kernel_plans.cpp
    const auto reference = createReferenceBackend({.roundsActivations = true});
    for (const auto form : {opencl::FormChoice::Cpu, opencl::FormChoice::Gpu})
        for (std::size_t plan = 0; plan < kMostPlans; ++plan) {
            if (!only.empty() && only != (form == opencl::FormChoice::Cpu ? "cpu" : "gpu"))
                continue;
            auto backend = opencl::createOpenClBackend(
                "opencl:0",
                {.form = form, .hostMemory = !memcheck, .plan = plan, .probeBytes = 40'000});
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
