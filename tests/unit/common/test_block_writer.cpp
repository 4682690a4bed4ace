// What is written in blocks reads back as it was given, whatever the sizes of the pieces.
#include <QFile>
#include <QTemporaryDir>
#include <QtTest>

#include "engine/common/block_writer.h"

using qllama::BlockWriter;

namespace {

constexpr qsizetype kBlock = 2 << 20;

QByteArray pattern(qsizetype size, char seed) {
    QByteArray bytes(size, Qt::Uninitialized);
    for (qsizetype i = 0; i < size; ++i)
        bytes[i] = static_cast<char>(seed + i * 7 + (i >> 8));
    return bytes;
}

std::span<const std::byte> spanOf(const QByteArray& bytes) {
    return std::as_bytes(std::span(bytes.data(), static_cast<std::size_t>(bytes.size())));
}

}  // namespace

class TestBlockWriter : public QObject {
    Q_OBJECT

private slots:
    void readsBackAsGiven();
    void failureIsKept();
};

void TestBlockWriter::readsBackAsGiven() {
    const QTemporaryDir folder;
    QFile file(folder.filePath("file"));
    QVERIFY(file.open(QIODevice::ReadWrite));
    BlockWriter writer(file.handle());
    QByteArray expected;
    char seed = 0;
    const auto append = [&](qsizetype size) {
        const QByteArray piece = pattern(size, ++seed);
        expected += piece;
        QVERIFY(writer.append(spanOf(piece)));
        QCOMPARE(writer.position(), static_cast<std::uint64_t>(expected.size()));
    };
    const auto overwrite = [&](qsizetype offset, qsizetype size) {
        const QByteArray piece = pattern(size, ++seed);
        expected.replace(offset, size, piece);
        QVERIFY(writer.overwrite(static_cast<std::uint64_t>(offset), spanOf(piece)));
    };
    for (const qsizetype size :
         {qsizetype{0}, qsizetype{1}, qsizetype{4095}, kBlock - 4096, kBlock, 2 * kBlock + 3,
          qsizetype{5}, kBlock - 8, kBlock + 1, qsizetype{77}})
        append(size);
    QVERIFY(writer.appendZeros(100));
    expected += QByteArray(100, '\0');
    append(3);
    overwrite(0, 50);                                               // long written
    overwrite(expected.size() - 30, 30);                            // still held back
    overwrite(6 * kBlock - 20, expected.size() - 6 * kBlock + 20);  // both
    overwrite(expected.size(), 0);
    append(kBlock);
    QVERIFY(writer.flush());
    append(10);
    QVERIFY(writer.flush());
    QCOMPARE(writer.errorNumber(), 0);
    QVERIFY(file.seek(0));
    QVERIFY(file.readAll() == expected);
}

void TestBlockWriter::failureIsKept() {
    QFile full("/dev/full");
    QVERIFY(full.open(QIODevice::WriteOnly));
    BlockWriter writer(full.handle());
    QVERIFY(writer.append(spanOf(pattern(10, 1))));  // held back
    QVERIFY(!writer.append(spanOf(pattern(2 * kBlock, 2))));
    QCOMPARE(writer.errorNumber(), ENOSPC);
    QVERIFY(!writer.append(spanOf(pattern(1, 3))));
    QVERIFY(!writer.flush());
}

QTEST_GUILESS_MAIN(TestBlockWriter)
#include "test_block_writer.moc"
