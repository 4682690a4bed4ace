// Measures how fast a given number of threads read memory and multiply.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/backend/speed_probe.h"
#include "engine/common/host_memory.h"
#include "engine/common/thread_pool.h"

namespace qllama::cpu {

class CpuSpeedProbe final : public SpeedProbe {
public:
    // 0 threads: one for each physical core. Fails with OutOfMemory, InvalidRequest (the system grants
    // fewer threads) or Cancelled. The buffer is 512 MiB, and filling it takes most of the time of a
    // single measurement: stop is polled for every few MiB.
    static Result<std::unique_ptr<CpuSpeedProbe>> create(int threadCount,
                                                         const std::stop_token& stop = {});

    // The best of reading the buffer as one sequential stream and as two, four and eight far-apart
    // streams a thread, some fetched ahead; about 20 ms each. Fails only with Cancelled: stop is polled
    // between the passes.
    [[nodiscard]] Result<double> measureGbPerSecond(const std::stop_token& stop) override;

    // The best of a few passes of some milliseconds. Fails only with Cancelled.
    [[nodiscard]] Result<std::optional<double>> measureMultiplyAdds(
        Precision precision, const std::stop_token& stop) override;

private:
    CpuSpeedProbe(ThreadPool pool, std::shared_ptr<HostMemory> memory)
        : m_pool(std::move(pool)), m_memory(std::move(memory)) {}
    ThreadPool m_pool;
    std::shared_ptr<HostMemory> m_memory;
    std::uint64_t m_checksum = 0;
};

}  // namespace qllama::cpu
