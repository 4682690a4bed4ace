// The pool: every worker once a run, results visible, asleep when idle, gone when destroyed.
#include <sys/resource.h>
#include <unistd.h>

#include <QtTest>
#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

#include "engine/common/thread_pool.h"

using namespace qllama;

namespace {

// The kernel's letters for what this process's threads do (R runs, S sleeps), without the caller's.
std::vector<char> otherThreadStates() {
    std::vector<char> states;
    const std::string own = std::to_string(::gettid());
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
        if (task.path().filename() == own) continue;
        std::ifstream file(task.path() / "stat");
        std::string line;
        std::getline(file, line);
        // "pid (name) state ...": the name may hold anything, so look from its last bracket on.
        if (const auto end = line.rfind(')'); end != std::string::npos && end + 2 < line.size())
            states.push_back(line[end + 2]);
    }
    return states;
}

}  // namespace

class TestThreadPool : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { m_threadsBefore = otherThreadStates().size(); }
    void everyWorkerRunsOncePerCall_data() { threadCounts(); }
    void everyWorkerRunsOncePerCall();
    void resultsAreVisibleToTheCaller_data() { threadCounts(); }
    void resultsAreVisibleToTheCaller();
    void inputsAreVisibleToTheWorkers();
    void theOwnerIsWorkerZero();
    void workersRunSideBySide();
    void atLeastOneThread();
    void oneThreadStartsNone();
    void idleWorkersSleepAndWakeUp();
    void destructionJoinsAtAnyMoment();
    void twoPoolsSideBySide();
    void exceptionsReachTheCaller_data() { threadCounts(); }
    void exceptionsReachTheCaller();
    void threadsThatTheSystemRefuses();
    void physicalCoresAreAtMostLogicalOnes();

private:
    static void threadCounts();
    std::size_t m_threadsBefore = 0;  // Qt Test has one of its own
};

void TestThreadPool::threadCounts() {
    QTest::addColumn<int>("threads");
    for (const int threads : {1, 2, 3, 8})
        QTest::addRow("%d", threads) << threads;
}

void TestThreadPool::everyWorkerRunsOncePerCall() {
    QFETCH(int, threads);
    ThreadPool pool(threads);
    QCOMPARE(pool.threadCount(), threads);
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(threads));
    constexpr int kRuns = 500;
    for (int run = 1; run <= kRuns; ++run) {
        pool.run([&](int worker) { ++calls[static_cast<std::size_t>(worker)]; });
        for (const auto& count : calls)
            QCOMPARE(count.load(), run);  // also: nobody is still running or ran ahead
    }
}

void TestThreadPool::resultsAreVisibleToTheCaller() {
    QFETCH(int, threads);
    ThreadPool pool(threads);
    std::vector<std::int64_t> results(static_cast<std::size_t>(threads));  // plain, not atomic
    for (std::int64_t run = 0; run < 500; ++run) {
        pool.run([&, run](int worker) {
            results[static_cast<std::size_t>(worker)] = run * 1000 + worker;
        });
        for (std::size_t worker = 0; worker < results.size(); ++worker)
            QCOMPARE(results[worker], run * 1000 + static_cast<std::int64_t>(worker));
    }
}

void TestThreadPool::inputsAreVisibleToTheWorkers() {
    ThreadPool pool(3);
    int input = 0;
    std::array<int, 3> seen{};
    for (int run = 0; run < 500; ++run) {
        input = run;
        pool.run([&](int worker) { seen[static_cast<std::size_t>(worker)] = input; });
        QCOMPARE(seen, (std::array<int, 3>{run, run, run}));
    }
}

void TestThreadPool::theOwnerIsWorkerZero() {
    ThreadPool pool(3);
    std::thread::id zero;
    pool.run([&](int worker) {
        if (worker == 0) zero = std::this_thread::get_id();
    });
    QVERIFY(zero == std::this_thread::get_id());
}

void TestThreadPool::workersRunSideBySide() {
    ThreadPool pool(4);
    std::array<std::thread::id, 4> ids;
    std::barrier all(4);
    pool.run([&](int worker) {
        ids[static_cast<std::size_t>(worker)] = std::this_thread::get_id();
        all.arrive_and_wait();
    });
    QCOMPARE(std::set<std::thread::id>(ids.begin(), ids.end()).size(), std::size_t{4});
}

void TestThreadPool::atLeastOneThread() {
    for (const int asked : {0, -3}) {
        ThreadPool pool(asked);
        QCOMPARE(pool.threadCount(), 1);
        int calls = 0;
        pool.run([&](int) { ++calls; });
        QCOMPARE(calls, 1);
    }
}

void TestThreadPool::oneThreadStartsNone() {
    // A joined thread may stay visible for a moment while the kernel clears it away.
    QTRY_COMPARE(otherThreadStates().size(), m_threadsBefore);
    ThreadPool pool(1);
    QCOMPARE(otherThreadStates().size(), m_threadsBefore);
    ThreadPool three(3);
    QCOMPARE(otherThreadStates().size(), m_threadsBefore + 2);
}

void TestThreadPool::idleWorkersSleepAndWakeUp() {
    ThreadPool pool(3);
    std::atomic<int> calls{0};
    for (int round = 1; round <= 3; ++round) {
        pool.run([&](int) { ++calls; });
        QCOMPARE(calls.load(), round * 3);
        QTRY_VERIFY(
            std::ranges::all_of(otherThreadStates(), [](char state) { return state == 'S'; }));
    }
}

void TestThreadPool::destructionJoinsAtAnyMoment() {
    for (int round = 0; round < 100; ++round) {
        std::atomic<int> calls{0};
        {
            ThreadPool pool(4);  // at times destroyed before its threads have begun
            if (round % 2 == 0) pool.run([&](int) { ++calls; });
        }
        QCOMPARE(calls.load(), round % 2 == 0 ? 4 : 0);
    }
    QTRY_COMPARE(otherThreadStates().size(), m_threadsBefore);
}

void TestThreadPool::twoPoolsSideBySide() {
    std::array<int, 2> sums{};
    {
        std::vector<std::jthread> owners;
        for (int& sum : sums)
            owners.emplace_back([&sum] {
                ThreadPool pool(2);
                std::array<int, 2> parts{};
                for (int run = 0; run < 200; ++run)
                    pool.run([&](int worker) { parts[static_cast<std::size_t>(worker)] += run; });
                sum = parts[0] + parts[1];
            });
    }
    QCOMPARE(sums[0], 2 * 199 * 200 / 2);
    QCOMPARE(sums[1], sums[0]);
}

// Whoever threw; and the pool goes on.
void TestThreadPool::exceptionsReachTheCaller() {
    QFETCH(int, threads);
    ThreadPool pool(threads);
    for (int thrower = 0; thrower < threads; ++thrower) {
        std::atomic<int> calls{0};
        try {
            pool.run([&](int worker) {
                ++calls;
                if (worker == thrower) throw std::bad_alloc();
            });
            QFAIL("nothing was thrown");
        } catch (const std::bad_alloc&) {
            QCOMPARE(calls.load(), threads);
        }
        pool.run([&](int) { ++calls; });
        QCOMPARE(calls.load(), 2 * threads);
    }
}

// As many as the address space has room for; the sanitizers need theirs themselves.
void TestThreadPool::threadsThatTheSystemRefuses() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    QSKIP("A sanitizer does without no memory.");
#endif
    std::int64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit before{};
    ::getrlimit(RLIMIT_AS, &before);
    rlimit limit = before;
    limit.rlim_cur = static_cast<rlim_t>(pages * ::sysconf(_SC_PAGESIZE)) + (rlim_t{128} << 20);
    ::setrlimit(RLIMIT_AS, &limit);
    const int count = 64;  // with 8 MiB of stack each
    std::optional<Error> error;
    try {
        ThreadPool pool(count);
    } catch (const std::system_error& refused) {
        error = threadsRefusedError(count, refused);
    }
    ::setrlimit(RLIMIT_AS, &before);
    QVERIFY(error.has_value());
    QVERIFY2(error->text().find("64 threads") != std::string::npos, error->text().c_str());
    std::atomic<int> calls{0};
    ThreadPool(2).run([&](int) { ++calls; });
    QCOMPARE(calls.load(), 2);
}

void TestThreadPool::physicalCoresAreAtMostLogicalOnes() {
    QVERIFY(physicalCoreCount() >= 1);
    QVERIFY(physicalCoreCount() <= static_cast<int>(std::thread::hardware_concurrency()));
}

QTEST_GUILESS_MAIN(TestThreadPool)
#include "test_thread_pool.moc"
