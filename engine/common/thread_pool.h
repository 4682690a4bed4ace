// A persistent pool for the engine's numeric loops: cheap to enter, silent when nothing runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>

#include "engine/common/result.h"

namespace qllama {

// One owner thread calls run(); the owner takes part as worker 0, so a pool of one thread starts no
// thread at all. Not re-entrant. Workers spin briefly between runs (a decode step is some hundred
// runs, microseconds apart) and then sleep, so an idle pool uses no processor time.
class ThreadPool {
public:
    // Throws std::system_error where the system grants no thread.
    using ThreadStarter = std::thread (*)(std::function<void()> work);

    // 0 threads: one for each physical core. Fails with InvalidRequest, and leaves no thread behind,
    // where the system grants fewer. Tests give a starter of their own.
    static Result<ThreadPool> start(int threadCount, ThreadStarter startThread = startStdThread);
    ~ThreadPool();
    ThreadPool(ThreadPool&&) noexcept;  // what is left of the other may only be destroyed
    ThreadPool& operator=(ThreadPool&&) = delete;

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
    explicit ThreadPool(int threadCount);
    static std::thread startStdThread(std::function<void()> work);
    void runErased(Entry entry, void* context);

    int m_threadCount;
    std::unique_ptr<Shared> m_shared;
};

// The physical cores this process may run on (hyper-threads of one core counted once), at least 1.
int physicalCoreCount();

}  // namespace qllama
