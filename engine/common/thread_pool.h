// A persistent pool for the engine's numeric loops: cheap to enter, silent when nothing runs.
#pragma once

#include <cstdint>
#include <memory>
#include <system_error>
#include <type_traits>

#include "engine/common/result.h"

namespace qllama {

// One owner thread calls run(); the owner takes part as worker 0, so a pool of one thread starts no
// thread at all. Not re-entrant. Workers spin briefly between runs (a decode step is some hundred
// runs, microseconds apart) and then sleep, so an idle pool uses no processor time.
class ThreadPool {
public:
    // Throws std::system_error where the system grants fewer threads, of which none stays.
    explicit ThreadPool(int threadCount);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    [[nodiscard]] int threadCount() const { return m_threadCount; }

    // Calls task(worker) once for each worker in [0, threadCount) and returns when all are done: 0 on
    // the calling thread, the others on threads of their own, or here after 0 if theirs have not
    // begun by then. What the tasks wrote is visible to the caller. Tasks must not throw.
    template <typename Task>
    void run(Task&& task) {
        using Plain = std::remove_reference_t<Task>;
        runErased([](void* context, int worker) { (*static_cast<Plain*>(context))(worker); },
                  const_cast<void*>(static_cast<const void*>(&task)));
    }

private:
    struct Shared;
    using Entry = void (*)(void* context, int worker);
    void runErased(Entry entry, void* context);

    int m_threadCount;
    std::unique_ptr<Shared> m_shared;
};

// For whoever reports that as a Result.
Error threadsRefusedError(int threadCount, const std::system_error& refused);

// The physical cores this process may run on (hyper-threads of one core counted once), at least 1.
int physicalCoreCount();

}  // namespace qllama
