// Google Benchmark of the CPU's matrix products, one for each matrix shape of the 7B and the 1.1B
// model, in every precision: decode (1 token) as bytes of weights a second, to be held against
// read_memory, and prefill (512 tokens) as multiply-adds a second, to be held against peak/f32 (f32, f16,
// bf16 and packed) or peak/q8 (q8 and q4). And of a layer's attention behind 2048 positions, as bytes of keys
// and values and as multiply-adds a second, to be held against read_memory and peak/f32.
//   build/release/bench_cpu_kernels --benchmark_filter=1.1b.*/q4
#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/backend/cpu/cpu_speed_probe.h"
#include "engine/common/thread_pool.h"
#include "tests/support/backends.h"

namespace qllama::test {
namespace {

struct Shape {
    const char* name;
    std::int64_t rows;
    std::int64_t columns;
};

constexpr Shape kShapes[] = {
    {"1.1b_wq", 2048, 2048}, {"1.1b_wk", 256, 2048},       {"1.1b_w1", 5632, 2048},
    {"1.1b_w2", 2048, 5632}, {"1.1b_output", 32000, 2048}, {"7b_wq", 4096, 4096},
    {"7b_w1", 11008, 4096},  {"7b_w2", 4096, 11008},       {"7b_output", 32000, 4096},
};
struct Weights {
    const char* name;
    Precision precision;
    DType inFile = DType::F16;
};

constexpr Weights kWeights[] = {
    {"f32", Precision::F32},
    {"f16", Precision::F16},
    {"bf16", Precision::BF16},
    {"packed_bf16", Precision::Packed, DType::BF16},
    {"packed_f16", Precision::Packed},
    {"q8", Precision::Q8},
    {"q4", Precision::Q4},
};

// Copies of a matrix that together are far larger than the caches, so that each product reads memory.
constexpr std::int64_t kBytesBeyondCaches = std::int64_t{256} << 20;

Backend& backend() {
    static const auto cpu = std::move(createBackend("cpu", {}).value());
    return *cpu;
}

std::vector<std::unique_ptr<Matrix>> copiesOf(const Shape& shape, const Weights& weights) {
    std::vector<std::unique_ptr<Matrix>> copies;
    for (std::int64_t bytes = 0; bytes < kBytesBeyondCaches; bytes += copies.back()->sizeBytes()) {
        // A tensor of its own for each: f16 is used where it lies.
        const auto values = randomValues(shape.rows * shape.columns, copies.size() + 1, 0.02F);
        const auto tensor = tensorOf("w", {shape.rows, shape.columns}, weights.inFile, values);
        copies.push_back(backend().loadMatrix(tensor, weights.precision, {}).value());
    }
    return copies;
}

void product(benchmark::State& state, const Shape& shape, const Weights& weights, std::int64_t n) {
    // One at a time in memory: the last shape and precision that was asked for.
    static std::map<std::string, std::vector<std::unique_ptr<Matrix>>> kept;
    const std::string key = std::string(shape.name) + weights.name;
    if (!kept.contains(key)) {
        kept.clear();
        kept[key] = copiesOf(shape, weights);
    }
    const auto& copies = kept[key];
    const auto x = bufferOf(backend(), randomValues(n * shape.columns, 2, 1.0F));
    const auto out = std::move(backend().createBuffer(n * shape.rows)).value();
    std::size_t next = 0;
    for (auto _ : state) {
        const MatmulTask task[] = {{copies[next++ % copies.size()].get(), out.get()}};
        backend().matmul(task, *x, n);
    }
    const auto iterations = static_cast<double>(state.iterations());
    state.counters["read"] = benchmark::Counter(
        iterations * static_cast<double>(copies.front()->sizeBytes()), benchmark::Counter::kIsRate);
    state.counters["multiply_adds"] =
        benchmark::Counter(iterations * static_cast<double>(n * shape.rows * shape.columns),
                           benchmark::Counter::kIsRate);
}

struct AttentionCase {
    const char* name;
    AttentionShape shape;
};

constexpr AttentionCase kAttentionCases[] = {{"1.1b", {32, 4, 64}}, {"7b", {32, 32, 128}}};
constexpr std::int64_t kDepth = 2048;

// So many layers that each finds its keys and values in memory, all of them filled.
std::unique_ptr<KvCache> filledCache(const AttentionShape& shape, std::int64_t n, KvShape& kv) {
    const std::int64_t width = shape.kvHeadCount * shape.headDim;
    kv = {.layerCount = kBytesBeyondCaches / (2 * 2 * width * kDepth),
          .kvHeadCount = shape.kvHeadCount,
          .headDim = shape.headDim,
          .capacity = kDepth + n};
    auto cache = backend().createKvCache(kv).value();
    const auto keys = bufferOf(backend(), randomValues(kDepth * width, 3, 1.0F));
    const auto values = bufferOf(backend(), randomValues(kDepth * width, 4, 1.0F));
    const auto queries =
        std::move(backend().createBuffer(kDepth * shape.headCount * shape.headDim)).value();
    std::vector<float> still(static_cast<std::size_t>(kDepth * shape.headDim));
    for (std::size_t i = 0; i < still.size(); i += 2)
        still[i] = 1;  // the cosine of no rotation, and its sine
    const auto rotations = bufferOf(backend(), still);
    for (std::int64_t layer = 0; layer < kv.layerCount; ++layer)
        backend().ropeAndStore(*queries, *keys, *values, *rotations, shape, *cache, layer, 0,
                               kDepth);
    return cache;
}

void attention(benchmark::State& state, const AttentionShape& shape, std::int64_t n) {
    KvShape kv;
    const auto cache = filledCache(shape, n, kv);
    const std::int64_t width = shape.headCount * shape.headDim;
    const auto queries = bufferOf(backend(), randomValues(n * width, 5, 1.0F));
    const auto out = std::move(backend().createBuffer(n * width)).value();
    std::int64_t layer = 0;
    for (auto _ : state)
        backend().attention(*queries, shape, *cache, layer++ % kv.layerCount, kDepth, n, *out);
    const auto positions = static_cast<double>(state.iterations()) * static_cast<double>(kDepth);
    state.counters["read"] =
        benchmark::Counter(positions * 4 * static_cast<double>(shape.kvHeadCount * shape.headDim),
                           benchmark::Counter::kIsRate);
    state.counters["multiply_adds"] = benchmark::Counter(
        positions * 2 * static_cast<double>(n * width), benchmark::Counter::kIsRate);
}

void readMemory(benchmark::State& state) {
    const auto probe = std::move(cpu::CpuSpeedProbe::create(physicalCoreCount())).value();
    double best = 0;
    for (auto _ : state)
        best = std::max(best, probe->measureGbPerSecond({}).value());
    state.counters["read"] = best * 1e9;
}

void multiplyInRegisters(benchmark::State& state, Precision precision) {
    const auto probe = std::move(cpu::CpuSpeedProbe::create(physicalCoreCount())).value();
    double best = 0;
    for (auto _ : state)
        best = std::max(best, probe->measureMultiplyAdds(precision, {}).value().value_or(0));
    state.counters["multiply_adds"] = best * 1e9;
}

void registerAll() {
    benchmark::RegisterBenchmark("read_memory", readMemory)->Iterations(5)->UseRealTime();
    for (const char* precision : {"f32", "q8"})
        benchmark::RegisterBenchmark((std::string("peak/") + precision).c_str(),
                                     [precision](benchmark::State& state) {
                                         multiplyInRegisters(state, *precisionFromKey(precision));
                                     })
            ->Iterations(5)
            ->UseRealTime();
    for (const AttentionCase& attended : kAttentionCases)
        for (const std::int64_t n : {1, 128})
            benchmark::RegisterBenchmark(
                (std::string("attention/") + attended.name + "/" + std::to_string(n)).c_str(),
                [&attended, n](benchmark::State& state) { attention(state, attended.shape, n); })
                ->UseRealTime()
                ->Unit(benchmark::kMicrosecond);
    for (const Shape& shape : kShapes)
        for (const Weights& weights : kWeights)
            for (const std::int64_t n : {1, 512})
                benchmark::RegisterBenchmark(
                    (std::string(shape.name) + "/" + weights.name + "/" + std::to_string(n))
                        .c_str(),
                    [&shape, &weights, n](benchmark::State& state) {
                        product(state, shape, weights, n);
                    })
                    ->UseRealTime()
                    ->Unit(benchmark::kMillisecond);
}

}  // namespace
}  // namespace qllama::test

int main(int argc, char** argv) {
    qllama::test::registerAll();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
