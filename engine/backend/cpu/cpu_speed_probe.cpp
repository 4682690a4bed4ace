#include "engine/backend/cpu/cpu_speed_probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "engine/backend/cpu/kernels/arithmetic_kernels.h"
#include "engine/backend/cpu/kernels/bandwidth_kernels.h"

namespace qllama::cpu {
namespace {

constexpr std::int64_t kBufferBytes = std::int64_t{512} << 20;
constexpr std::int64_t kGranuleBytes = 8 * 256;  // what every stream count divides
constexpr std::int64_t kWordsBetweenPolls = std::int64_t{1} << 19;  // 4 MiB

constexpr int kArithmeticPasses = 5;
constexpr std::int64_t kArithmeticRounds = 200'000;  // some milliseconds

double secondsSince(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::int64_t partBytes(int threads) {
    return kBufferBytes / threads / kGranuleBytes * kGranuleBytes;
}

}  // namespace

Result<std::unique_ptr<CpuSpeedProbe>> CpuSpeedProbe::create(int threadCount,
                                                             const std::stop_token& stop) {
    if (stop.stop_requested()) return cancelledError();
    QLLAMA_TRY(auto memory, HostMemory::allocate(kBufferBytes, true, "the bandwidth measurement"));
    QLLAMA_TRY(auto pool, ThreadPool::start(threadCount));
    std::unique_ptr<CpuSpeedProbe> probe(new CpuSpeedProbe(std::move(pool), std::move(memory)));
    // Distinct contents: identical pages may be merged by a hypervisor and then read from cache.
    const std::int64_t part = partBytes(probe->m_pool.threadCount());
    probe->m_pool.run([&](int worker) {
        auto* words = reinterpret_cast<std::uint64_t*>(probe->m_memory->data() + worker * part);
        std::uint64_t state = static_cast<std::uint64_t>(worker) + 1;
        for (std::int64_t i = 0; i < part / 8; ++i) {
            if (i % kWordsBetweenPolls == 0 && stop.stop_requested()) return;
            state = state * 6364136223846793005U + 1442695040888963407U;
            words[i] = state;
        }
    });
    if (stop.stop_requested()) return cancelledError();
    return probe;
}

Result<double> CpuSpeedProbe::measureGbPerSecond(const std::stop_token& stop) {
    const std::int64_t part = partBytes(m_pool.threadCount());
    double best = 0;
    for (const int streams : {1, 2, 4, 8}) {
        if (stop.stop_requested()) return cancelledError();
        std::atomic<std::uint64_t> sum{0};
        const auto start = std::chrono::steady_clock::now();
        m_pool.run([&](int worker) {
            sum += readStreams(m_memory->data() + worker * part, part, streams);
        });
        const auto bytes = static_cast<double>(part) * m_pool.threadCount();
        best = std::max(best, bytes / secondsSince(start) / 1e9);
        m_checksum ^= sum;  // keeps the reads from being removed
    }
    return best;
}

Result<std::optional<double>> CpuSpeedProbe::measureMultiplyAdds(Precision precision,
                                                                 const std::stop_token& stop) {
    const Arithmetic arithmetic = quantFormat(precision) ? Arithmetic::Int8 : Arithmetic::F32;
    double best = 0;
    for (int pass = 0; pass < kArithmeticPasses; ++pass) {
        if (stop.stop_requested()) return cancelledError();
        std::atomic<std::int64_t> count{0};
        const auto start = std::chrono::steady_clock::now();
        m_pool.run([&](int) { count += multiplyAdd(arithmetic, kArithmeticRounds); });
        best = std::max(best, static_cast<double>(count) / secondsSince(start) / 1e9);
    }
    return std::optional<double>(best);
}

}  // namespace qllama::cpu
