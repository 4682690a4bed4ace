#include "engine/common/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <utility>
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
    // The last run in which somebody took this worker's part: its own thread, or the owner.
    struct alignas(64) Part {
        std::atomic<std::uint32_t> takenIn{0};
    };

    explicit Shared(int threadCount) : parts(static_cast<std::size_t>(threadCount)) {}

    std::atomic<std::uint32_t> lastRun{0};
    std::atomic<int> pending{0};
    std::atomic<bool> stopping{false};
    Entry entry = nullptr;
    void* context = nullptr;
    std::vector<Part> parts;
    std::vector<std::thread> workers;
    std::mutex failureMutex;
    std::exception_ptr failure;  // the first of this run

    void call(int worker) {
        try {
            entry(context, worker);
        } catch (...) {
            const std::lock_guard lock(failureMutex);
            if (!failure) failure = std::current_exception();
        }
    }

    // Every part is taken once in every run, so a thread that comes late, with a run that is over in
    // its mind, finds that number or a higher one.
    bool take(int worker, std::uint32_t run) {
        std::uint32_t before = run - 1;
        return parts[static_cast<std::size_t>(worker)].takenIn.compare_exchange_strong(
            before, run, std::memory_order_acq_rel, std::memory_order_relaxed);
    }

    void waitForRun(std::uint32_t seen) {
        for (int round = 0; round < kSpinRounds; ++round) {
            if (lastRun.load(std::memory_order_acquire) != seen) return;
            relaxProcessor();
        }
        lastRun.wait(seen, std::memory_order_acquire);
    }

    void endWorkers() {
        stopping.store(true, std::memory_order_relaxed);
        lastRun.fetch_add(1, std::memory_order_release);
        lastRun.notify_all();
        for (std::thread& worker : workers)
            worker.join();
    }

    void work(int worker) {
        std::uint32_t seen = 0;
        while (true) {
            waitForRun(seen);
            seen = lastRun.load(std::memory_order_acquire);
            if (stopping.load(std::memory_order_relaxed)) return;
            if (!take(worker, seen)) continue;
            call(worker);
            if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) pending.notify_one();
        }
    }

    // Of threads that the system has not let run yet: on a busy machine it takes milliseconds, and
    // the parts that are shared out by a counter are mostly empty by now.
    void takeWhatIsLeft(std::uint32_t run) {
        for (int worker = 1; worker < static_cast<int>(parts.size()); ++worker) {
            if (!take(worker, run)) continue;
            call(worker);
            pending.fetch_sub(1, std::memory_order_relaxed);
        }
    }

    void waitForTheOthers() {
        for (int round = 0; round < kSpinRounds; ++round) {
            if (pending.load(std::memory_order_acquire) == 0) return;
            relaxProcessor();
        }
        for (int left; (left = pending.load(std::memory_order_acquire)) != 0;)
            pending.wait(left, std::memory_order_acquire);
    }
};

ThreadPool::ThreadPool(int threadCount)
    : m_threadCount(threadCount), m_shared(std::make_unique<Shared>(threadCount)) {}

Result<ThreadPool> ThreadPool::start(int threadCount, ThreadStarter startThread) {
    ThreadPool pool(threadCount > 0 ? threadCount : physicalCoreCount());
    try {
        for (int worker = 1; worker < pool.m_threadCount; ++worker)
            pool.m_shared->workers.push_back(
                startThread([shared = pool.m_shared.get(), worker] { shared->work(worker); }));
    } catch (const std::system_error& refused) {
        return Error{ErrorCode::InvalidRequest,
                     "The system does not let " + std::to_string(pool.m_threadCount) +
                         " threads run: " + refused.code().message() + ". Choose fewer.",
                     {}};
    }
    return pool;
}

std::thread ThreadPool::startStdThread(std::function<void()> work) {
    return std::thread(std::move(work));
}

ThreadPool::ThreadPool(ThreadPool&&) noexcept = default;

ThreadPool::~ThreadPool() {
    if (m_shared) m_shared->endWorkers();
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
    const std::uint32_t run = shared.lastRun.fetch_add(1, std::memory_order_release) + 1;
    shared.lastRun.notify_all();
    shared.call(0);
    shared.takeWhatIsLeft(run);
    shared.waitForTheOthers();
    if (shared.failure) std::rethrow_exception(std::exchange(shared.failure, nullptr));
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
