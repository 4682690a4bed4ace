// Blocks from the operating system: zeroed, aligned, and refused in words when too large.
#include <unistd.h>
#include <QtTest>
#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "engine/common/host_memory.h"

using namespace qllama;

class TestHostMemory : public QObject {
    Q_OBJECT

private slots:
    void blocksAreZeroedAndWritable_data();
    void blocksAreZeroedAndWritable();
    void blocksAreAligned();
    void tooMuchIsRefusedWithBothNumbers();
    void machineHasMemory();
    void freedMemoryGoesBack();
};

void TestHostMemory::blocksAreZeroedAndWritable_data() {
    QTest::addColumn<qint64>("size");
    QTest::addColumn<bool>("hugePages");
    for (const qint64 size : {0LL, 1LL, 4096LL, 100'000LL, 5LL << 20})
        for (const bool hugePages : {false, true})
            QTest::addRow("%lld, %s", size, hugePages ? "huge" : "plain") << size << hugePages;
}

void TestHostMemory::blocksAreZeroedAndWritable() {
    QFETCH(qint64, size);
    QFETCH(bool, hugePages);
    const auto memory = HostMemory::allocate(size, hugePages, "the test");
    QVERIFY(memory.ok());
    QCOMPARE(qint64{memory.value()->sizeBytes()}, size);
    std::byte* const data = memory.value()->data();
    QVERIFY(data != nullptr);
    QVERIFY(std::all_of(data, data + size, [](std::byte byte) { return byte == std::byte{0}; }));
    if (size > 0) std::memset(data, 0xA5, static_cast<std::size_t>(size));
    QVERIFY(std::all_of(data, data + size, [](std::byte byte) { return byte == std::byte{0xA5}; }));
}

void TestHostMemory::blocksAreAligned() {
    const auto plain = HostMemory::allocate(10'000, false, "the test");
    const auto huge = HostMemory::allocate((3LL << 20) + 17, true, "the test");
    QCOMPARE(reinterpret_cast<std::uintptr_t>(plain.value()->data()) % 4096, std::uintptr_t{0});
    QCOMPARE(reinterpret_cast<std::uintptr_t>(huge.value()->data()) % (2U << 20),
             std::uintptr_t{0});
}

void TestHostMemory::tooMuchIsRefusedWithBothNumbers() {
    for (const std::int64_t size : {totalMemoryBytes() + 1, INT64_MAX, std::int64_t{-1}}) {
        const auto memory = HostMemory::allocate(size, true, "the moon");
        QVERIFY(!memory.ok());
        QCOMPARE(memory.error().code, ErrorCode::OutOfMemory);
        const QString message = QString::fromStdString(memory.error().message);
        QVERIFY2(message.startsWith("Not enough memory for the moon: "), qPrintable(message));
        QCOMPARE(message.count(" MiB are "), 2);
        QVERIFY(message.endsWith('.'));
    }
}

void TestHostMemory::machineHasMemory() {
    QVERIFY(totalMemoryBytes() > 0);
    QVERIFY(availableMemoryBytes() > 0);
    QVERIFY(availableMemoryBytes() <= totalMemoryBytes());
}

// Blocks smaller than those that the allocator maps one by one, with one that stays above them.
void TestHostMemory::freedMemoryGoesBack() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return;  // they have an allocator of their own
#endif
    const auto residentPages = [] {
        std::ifstream facts("/proc/self/statm");
        long size = 0;
        long resident = 0;
        facts >> size >> resident;
        return resident;
    };
    constexpr std::size_t kBlockBytes = 64 << 10;
    std::vector<std::unique_ptr<char[]>> blocks(1000);
    for (auto& block : blocks) {
        block.reset(new char[kBlockBytes]);
        std::memset(block.get(), 1, kBlockBytes);
    }
    const auto last = std::make_unique<char[]>(kBlockBytes);
    blocks.clear();
    const long before = residentPages();
    returnFreeMemory();
    QVERIFY(before - residentPages() > 1000L * long{kBlockBytes} / sysconf(_SC_PAGESIZE) * 9 / 10);
}

QTEST_GUILESS_MAIN(TestHostMemory)
#include "test_host_memory.moc"
