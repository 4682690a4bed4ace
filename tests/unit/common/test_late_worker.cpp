// The pool on a busy machine: a worker that the system does not let run holds nobody up. Apart from
// the pool's other tests because ThreadSanitizer, which runs those, puts signals off.
#include <unistd.h>

#include <QtTest>
#include <array>
#include <barrier>
#include <csignal>
#include <thread>

#include "engine/common/thread_pool.h"

using namespace qllama;

namespace {

int held[2];
int released[2];

// What a signal handler may do: tell that it is here, and wait for a byte.
void holdThread(int) {
    char byte = 0;
    if (::write(held[1], &byte, 1) == 1) (void)!::read(released[0], &byte, 1);
}

}  // namespace

class TestLateWorker : public QObject {
    Q_OBJECT

private slots:
    void itsPartIsDoneByTheOwner() {
        QVERIFY(::pipe(held) == 0 && ::pipe(released) == 0);
        std::signal(SIGUSR1, holdThread);
        ThreadPool pool = std::move(ThreadPool::start(2)).value();
        std::array<pthread_t, 2> threads{};
        std::barrier both(2);
        pool.run([&](int worker) {
            threads[static_cast<std::size_t>(worker)] = ::pthread_self();
            both.arrive_and_wait();
        });
        QVERIFY(threads[0] != threads[1]);
        QCOMPARE(::pthread_kill(threads[1], SIGUSR1), 0);
        char byte = 0;
        QCOMPARE(::read(held[0], &byte, 1), 1);

        std::array<int, 2> calls{};
        std::array<std::thread::id, 2> doneBy;
        for (int run = 0; run < 100; ++run)
            pool.run([&](int worker) {
                ++calls[static_cast<std::size_t>(worker)];
                doneBy[static_cast<std::size_t>(worker)] = std::this_thread::get_id();
            });
        QCOMPARE(calls, (std::array<int, 2>{100, 100}));
        QVERIFY(doneBy[1] == std::this_thread::get_id());

        QCOMPARE(::write(released[1], &byte, 1), 1);
        pool.run([&](int) { both.arrive_and_wait(); });  // and is back
    }
};

QTEST_GUILESS_MAIN(TestLateWorker)
#include "test_late_worker.moc"
