// The division of a product's rows among threads: every row once, long portions first, short ones last.
#include <QtTest>
#include <vector>

#include "engine/backend/cpu/row_schedule.h"
#include "engine/common/thread_pool.h"

using namespace qllama;
using cpu::RowRange;
using cpu::RowSchedule;

namespace {

std::vector<RowRange> portionsOf(RowSchedule& schedule) {
    std::vector<RowRange> portions;
    for (RowRange range; (range = schedule.take()).begin != range.end;)
        portions.push_back(range);
    return portions;
}

}  // namespace

class TestRowSchedule : public QObject {
    Q_OBJECT

private slots:
    void everyRowIsTakenOnce_data() {
        QTest::addColumn<qint64>("rows");
        QTest::addColumn<int>("threads");
        QTest::addColumn<qint64>("granularity");
        QTest::addColumn<qint64>("most");
        for (const qint64 rows : {1, 7, 8, 31, 2048, 32001})
            for (const int threads : {1, 2, 3, 64})
                for (const qint64 granularity : {8, 16})
                    for (const qint64 most : {granularity, qint64{160}, qint64{1} << 40})
                        QTest::addRow("%lld rows, %d threads, of %lld, at most %lld", rows, threads,
                                      granularity, most)
                            << rows << threads << granularity << most;
    }
    void everyRowIsTakenOnce() {
        QFETCH(qint64, rows);
        QFETCH(int, threads);
        QFETCH(qint64, granularity);
        QFETCH(qint64, most);
        RowSchedule schedule(rows, threads, granularity, most);
        std::int64_t next = 0;
        for (const RowRange& range : portionsOf(schedule)) {
            QCOMPARE(range.begin, next);
            QVERIFY(range.end - range.begin <= most);
            QVERIFY(range.end == rows || range.end % granularity == 0);
            next = range.end;
        }
        QCOMPARE(next, rows);
    }

    // The threads begin with long streams, and wait for one another no longer than for the least.
    void portionsShrink() {
        RowSchedule schedule(32000, 2, 8, 32000);
        const auto portions = portionsOf(schedule);
        QCOMPARE(portions.front().end, 8000);
        QVERIFY(portions.back().end - portions.back().begin <= 16);
        for (std::size_t i = 1; i < portions.size(); ++i)
            QVERIFY(portions[i].end - portions[i].begin <=
                    portions[i - 1].end - portions[i - 1].begin);
    }

    void threadsShareTheRows() {
        constexpr std::int64_t kRows = 100000;
        RowSchedule schedule(kRows, 4, 8, 16);
        std::vector<std::atomic<int>> taken(kRows);
        ThreadPool pool = std::move(ThreadPool::start(4)).value();
        pool.run([&](int) {
            for (const RowRange& range : portionsOf(schedule))
                for (std::int64_t row = range.begin; row < range.end; ++row)
                    ++taken[static_cast<std::size_t>(row)];
        });
        for (const auto& count : taken)
            QCOMPARE(count.load(), 1);
    }
};

QTEST_GUILESS_MAIN(TestRowSchedule)
#include "test_row_schedule.moc"
