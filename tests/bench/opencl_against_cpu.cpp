// Times the weight products of a 1.1B layer (dim 2048, 32/4 heads, ffn 5632) on an OpenCL device and
// on the CPU engine, in turns, so that a busy machine slows both. Prints the best of each.
//   bench_opencl [DEVICE [ROUNDS [PRECISION]]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/support/backends.h"

using namespace qllama;
using namespace qllama::test;

namespace {

constexpr std::int64_t kDim = 2048;
constexpr std::int64_t kKvDim = 256;
constexpr std::int64_t kFfn = 5632;
constexpr int kLayers = 3;  // 264 MB of f16: beyond every cache

struct Model {
    std::unique_ptr<Backend> backend;
    std::vector<std::unique_ptr<Matrix>> matrices;  // wq wk wv wo w1 w3 w2 for each layer
    std::unique_ptr<Buffer> x, q, k, v, gate, up;
};

Model load(const std::string& device, const std::vector<CatalogTensor>& tensors,
           Precision precision, std::int64_t n) {
    Model model;
    auto backend = createBackend(device, {.threadCount = 2});
    if (!backend.ok()) {
        std::fprintf(stderr, "%s\n", backend.error().text().c_str());
        std::exit(1);
    }
    model.backend = std::move(backend).value();
    for (const CatalogTensor& tensor : tensors)
        model.matrices.push_back(
            std::move(model.backend->loadMatrix(tensor, precision, {})).value());
    model.x = bufferOf(*model.backend, randomValues(n * kDim, 1, 0.1F));
    model.q = std::move(model.backend->createBuffer(n * kDim)).value();
    model.k = std::move(model.backend->createBuffer(n * kKvDim)).value();
    model.v = std::move(model.backend->createBuffer(n * kKvDim)).value();
    model.gate = std::move(model.backend->createBuffer(n * kFfn)).value();
    model.up = std::move(model.backend->createBuffer(n * kFfn)).value();
    return model;
}

double milliseconds(Model& model, std::int64_t n) {
    const auto start = std::chrono::steady_clock::now();
    Backend& backend = *model.backend;
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
        const auto matrix = [&](std::size_t i) { return model.matrices[layer * 7 + i].get(); };
        const MatmulTask qkv[] = {
            {matrix(0), model.q.get()}, {matrix(1), model.k.get()}, {matrix(2), model.v.get()}};
        backend.matmul(qkv, *model.x, n);
        const MatmulTask output[] = {{matrix(3), model.x.get(), true}};
        backend.matmul(output, *model.q, n);
        const MatmulTask gateAndUp[] = {{matrix(4), model.gate.get()}, {matrix(5), model.up.get()}};
        backend.matmul(gateAndUp, *model.x, n);
        backend.swiglu(*model.gate, *model.up, kFfn, n);
        const MatmulTask down[] = {{matrix(6), model.x.get(), true}};
        backend.matmul(down, *model.gate, n);
    }
    (void)backend.finish();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
        .count();
}

}  // namespace

int main(int argc, char** argv) {
    const std::string device = argc > 1 ? argv[1] : "opencl:0";
    const int rounds = argc > 2 ? std::atoi(argv[2]) : 15;
    const auto precision = precisionFromKey(argc > 3 ? argv[3] : "f16");
    if (!precision) return 2;
    std::vector<CatalogTensor> tensors;
    double bytes = 0;
    const std::int64_t shapes[7][2] = {{kDim, kDim}, {kKvDim, kDim}, {kKvDim, kDim}, {kDim, kDim},
                                       {kFfn, kDim}, {kFfn, kDim},   {kDim, kFfn}};
    for (std::uint64_t layer = 0; layer < kLayers; ++layer)
        for (const auto& shape : shapes) {
            tensors.push_back(tensorOf("w", {shape[0], shape[1]}, DType::F16,
                                       randomValues(shape[0] * shape[1], layer, 0.01F)));
            bytes += static_cast<double>(matrixBytes(*precision, DType::F16, shape[0], shape[1]));
        }
    for (const std::int64_t n : {1, 32, 128}) {
        Model cpu = load("cpu", tensors, *precision, n);
        Model other = load(device, tensors, *precision, n);
        double best[2] = {1e30, 1e30};
        for (int round = 0; round < (n == 1 ? rounds : std::max(2, rounds / 5)); ++round) {
            best[0] = std::min(best[0], milliseconds(cpu, n));
            best[1] = std::min(best[1], milliseconds(other, n));
        }
        std::printf("n = %3d: cpu %.2f ms (%.1f GB/s), %s %.2f ms (%.1f GB/s), ratio %.3f\n",
                    static_cast<int>(n), best[0], bytes / best[0] / 1e6, device.c_str(), best[1],
                    bytes / best[1] / 1e6, best[1] / best[0]);
    }
    return 0;
}
