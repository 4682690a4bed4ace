#include "engine/common/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qllama {
namespace {

void relaxProcessor() {
#if defined(__x86_64__)
    _mm_pause();
#else
    std::this_thread::yield();
#endif
}

// About 20 to 50 microseconds of spinning: longer than the gap between two operations of a layer,
// far shorter than anything a person or a battery would notice.
constexpr int kSpinRounds = 2000;

}  // namespace

struct ThreadPool::Shared {
    std::atomic<std::uint32_t> generation{0};
    std::atomic<int> pending{0};
    std::atomic<bool> stopping{false};
    Entry entry = nullptr;
    void* context = nullptr;
    std::vector<std::thread> workers;

    void waitForGeneration(std::uint32_t seen) {
        for (int round = 0; round < kSpinRounds; ++round) {
            if (generation.load(std::memory_order_acquire) != seen) return;
            relaxProcessor();
        }
        generation.wait(seen, std::memory_order_acquire);
    }

    void work(int worker) {
        std::uint32_t seen = 0;
        while (true) {
            waitForGeneration(seen);
            seen = generation.load(std::memory_order_acquire);
            if (stopping.load(std::memory_order_relaxed)) return;
            entry(context, worker);
            if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) pending.notify_one();
        }
    }
};

ThreadPool::ThreadPool(int threadCount)
    : m_threadCount(std::max(1, threadCount)), m_shared(std::make_unique<Shared>()) {
    for (int worker = 1; worker < m_threadCount; ++worker)
        m_shared->workers.emplace_back([this, worker] { m_shared->work(worker); });
}

ThreadPool::~ThreadPool() {
    m_shared->stopping.store(true, std::memory_order_relaxed);
    m_shared->generation.fetch_add(1, std::memory_order_release);
    m_shared->generation.notify_all();
    for (std::thread& worker : m_shared->workers)
        worker.join();
}

void ThreadPool::runErased(Entry entry, void* context) {
    if (m_threadCount == 1) {
        entry(context, 0);
        return;
    }
    Shared& shared = *m_shared;
    shared.entry = entry;
    shared.context = context;
    shared.pending.store(m_threadCount - 1, std::memory_order_relaxed);
    shared.generation.fetch_add(1, std::memory_order_release);
    shared.generation.notify_all();
    entry(context, 0);
    for (int round = 0; round < kSpinRounds; ++round) {
        if (shared.pending.load(std::memory_order_acquire) == 0) return;
        relaxProcessor();
    }
    for (int left; (left = shared.pending.load(std::memory_order_acquire)) != 0;)
        shared.pending.wait(left, std::memory_order_acquire);
}

int physicalCoreCount() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    std::set<std::string> cores;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        const std::string topology =
            "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
        std::ifstream siblings(topology + "thread_siblings_list");
        std::string name;
        if (!std::getline(siblings, name)) name = "cpu" + std::to_string(cpu);
        cores.insert(name);
    }
    return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace qllama
