// Times every plan of the OpenCL products (engine/backend/opencl/kernel_plans.h) by events, in turns:
// one layer's worth of the 1.1B shape, decode and a prompt of 64. Prints the best of each in ms.
//   bench_opencl_plans [DEVICE [PRECISION [cpu|gpu|auto [ROUNDS]]]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "engine/backend/opencl/opencl_backend.h"
#include "tests/support/backends.h"

using namespace qllama;
using namespace qllama::test;
using opencl::FormChoice;

namespace {

constexpr std::size_t kMostPlans = 4;
constexpr std::int64_t kShapes[][2] = {{2048, 2048}, {256, 2048},  {256, 2048}, {2048, 2048},
                                       {5632, 2048}, {5632, 2048}, {2048, 5632}};

struct Contender {
    std::unique_ptr<Backend> backend;
    std::vector<std::unique_ptr<Matrix>> matrices;
    std::unique_ptr<Buffer> in, out;
    double best[2] = {1e30, 1e30};
};

Contender load(const std::string& device, Precision precision, FormChoice form, std::size_t plan) {
    Contender contender;
    auto backend =
        opencl::createOpenClBackend(device, {.form = form, .profile = true, .plan = plan});
    if (!backend.ok()) {
        std::fprintf(stderr, "%s\n", backend.error().text().c_str());
        std::exit(1);
    }
    contender.backend = std::move(backend).value();
    for (const auto& [rows, columns] : kShapes)
        contender.matrices.push_back(std::move(contender.backend->loadMatrix(
                                                   tensorOf("w", {rows, columns}, DType::F16,
                                                            randomValues(rows * columns, 1, 0.01F)),
                                                   precision, {}))
                                         .value());
    contender.in = bufferOf(*contender.backend, randomValues(std::int64_t{64} * 5632, 2, 0.1F));
    contender.out = std::move(contender.backend->createBuffer(std::int64_t{64} * 5632)).value();
    return contender;
}

void measure(Contender& contender) {
    for (int i = 0; i < 2; ++i) {
        (void)contender.backend->takeProfile();
        for (const auto& matrix : contender.matrices) {
            const MatmulTask task[] = {{matrix.get(), contender.out.get()}};
            contender.backend->matmul(task, *contender.in, i == 0 ? 1 : 64);
        }
        double ms = 0;
        for (const KernelTiming& timing : contender.backend->takeProfile())
            ms += timing.ms;
        contender.best[i] = std::min(contender.best[i], ms);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const std::string device = argc > 1 ? argv[1] : "opencl:0";
    const auto precision = precisionFromKey(argc > 2 ? argv[2] : "f16");
    const std::string form = argc > 3 ? argv[3] : "auto";
    const int rounds = argc > 4 ? std::atoi(argv[4]) : 15;
    if (!precision || rounds < 1) return 2;
    std::vector<Contender> contenders;
    for (std::size_t plan = 0; plan < kMostPlans; ++plan)
        contenders.push_back(load(device, *precision,
                                  form == "cpu"   ? FormChoice::Cpu
                                  : form == "gpu" ? FormChoice::Gpu
                                                  : FormChoice::Automatic,
                                  plan));
    for (int round = 0; round < rounds; ++round)
        for (Contender& contender : contenders)
            measure(contender);
    for (std::size_t plan = 0; plan < kMostPlans; ++plan)
        std::printf("%s %s plan %zu: decode %.2f ms, prompt of 64 %.1f ms\n", form.c_str(),
                    std::string(keyOf(*precision)).c_str(), plan, contenders[plan].best[0],
                    contenders[plan].best[1]);
    return 0;
}
