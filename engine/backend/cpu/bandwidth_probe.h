// Measures the memory-read bandwidth with a given number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>

#include "engine/common/host_memory.h"
#include "engine/common/result.h"
#include "engine/common/thread_pool.h"

namespace qllama::cpu {

// Holds a buffer far larger than the caches, filled once, so that single measurements are quick
// (some 20 ms) and can be taken between the things they are compared with. One thread at a time.
class BandwidthProbe {
public:
    // Fails with OutOfMemory or Cancelled. The buffer is 512 MiB, and filling it takes most of the
    // time of a single measurement: stop is polled for every few MiB.
    static Result<std::unique_ptr<BandwidthProbe>> create(int threadCount,
                                                          const std::stop_token& stop = {});

    // Bytes a second (of 10^9 in the result: GB/s): the best of reading the buffer as one
    // sequential stream and as two, four and eight far-apart streams a thread. Fails only with
    // Cancelled: stop is polled between the passes.
    [[nodiscard]] Result<double> measureGbPerSecond(const std::stop_token& stop = {});

private:
    BandwidthProbe(int threadCount, std::shared_ptr<HostMemory> memory)
        : m_pool(threadCount), m_memory(std::move(memory)) {}
    ThreadPool m_pool;
    std::shared_ptr<HostMemory> m_memory;
    std::uint64_t m_checksum = 0;
};

}  // namespace qllama::cpu
