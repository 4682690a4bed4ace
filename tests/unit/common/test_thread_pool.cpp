// The pool: every worker once a run, results visible, asleep when idle, gone when destroyed.
#include <pthread.h>
#include <unistd.h>

#include <QtTest>
#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <set>
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
    void withoutANumberThereIsOneForEachCore();
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
    ThreadPool pool = std::move(ThreadPool::start(threads)).value();
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
    ThreadPool pool = std::move(ThreadPool::start(threads)).value();
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
    ThreadPool pool = std::move(ThreadPool::start(3)).value();
    int input = 0;
    std::array<int, 3> seen{};
    for (int run = 0; run < 500; ++run) {
        input = run;
        pool.run([&](int worker) { seen[static_cast<std::size_t>(worker)] = input; });
        QCOMPARE(seen, (std::array<int, 3>{run, run, run}));
    }
}

void TestThreadPool::theOwnerIsWorkerZero() {
    ThreadPool pool = std::move(ThreadPool::start(3)).value();
    std::thread::id zero;
    pool.run([&](int worker) {
        if (worker == 0) zero = std::this_thread::get_id();
    });
    QVERIFY(zero == std::this_thread::get_id());
}

void TestThreadPool::workersRunSideBySide() {
    ThreadPool pool = std::move(ThreadPool::start(4)).value();
    std::array<std::thread::id, 4> ids;
    std::barrier all(4);
    pool.run([&](int worker) {
        ids[static_cast<std::size_t>(worker)] = std::this_thread::get_id();
        all.arrive_and_wait();
    });
    QCOMPARE(std::set<std::thread::id>(ids.begin(), ids.end()).size(), std::size_t{4});
}

void TestThreadPool::withoutANumberThereIsOneForEachCore() {
    for (const int asked : {0, -3}) {
        ThreadPool pool = std::move(ThreadPool::start(asked)).value();
        QCOMPARE(pool.threadCount(), physicalCoreCount());
        std::atomic<int> calls{0};
        pool.run([&](int) { ++calls; });
        QCOMPARE(calls.load(), physicalCoreCount());
    }
}

void TestThreadPool::oneThreadStartsNone() {
    // A joined thread may stay visible for a moment while the kernel clears it away.
    QTRY_COMPARE(otherThreadStates().size(), m_threadsBefore);
    ThreadPool pool = std::move(ThreadPool::start(1)).value();
    QCOMPARE(otherThreadStates().size(), m_threadsBefore);
    ThreadPool three = std::move(ThreadPool::start(3)).value();
    QCOMPARE(otherThreadStates().size(), m_threadsBefore + 2);
}

void TestThreadPool::idleWorkersSleepAndWakeUp() {
    ThreadPool pool = std::move(ThreadPool::start(3)).value();
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
            // At times destroyed before its threads have begun.
            ThreadPool pool = std::move(ThreadPool::start(4)).value();
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
                ThreadPool pool = std::move(ThreadPool::start(2)).value();
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
    ThreadPool pool = std::move(ThreadPool::start(threads)).value();
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

// The third is asked for with a stack that no address space has room for.
void TestThreadPool::threadsThatTheSystemRefuses() {
    pthread_attr_t usual;
    QCOMPARE(::pthread_getattr_default_np(&usual), 0);
    static int started;
    started = 0;
    const auto startThread = [](std::function<void()> work) {
        if (++started == 3) {
            pthread_attr_t endless;
            ::pthread_attr_init(&endless);
            ::pthread_attr_setstacksize(&endless, std::size_t{1} << 48);
            ::pthread_setattr_default_np(&endless);
            ::pthread_attr_destroy(&endless);
        }
        return std::thread(std::move(work));
    };
    const Result<ThreadPool> refused = ThreadPool::start(64, startThread);
    ::pthread_setattr_default_np(&usual);
    ::pthread_attr_destroy(&usual);
    QCOMPARE(started, 3);
    QVERIFY(!refused.ok());
    QCOMPARE(refused.error().code, ErrorCode::InvalidRequest);
    QVERIFY2(refused.error().text().find("64 threads") != std::string::npos,
             refused.error().text().c_str());
    std::atomic<int> calls{0};
    std::move(ThreadPool::start(2)).value().run([&](int) { ++calls; });
    QCOMPARE(calls.load(), 2);
}

void TestThreadPool::physicalCoresAreAtMostLogicalOnes() {
    QVERIFY(physicalCoreCount() >= 1);
    QVERIFY(physicalCoreCount() <= static_cast<int>(std::thread::hardware_concurrency()));
}

QTEST_GUILESS_MAIN(TestThreadPool)
#include "test_thread_pool.moc"
