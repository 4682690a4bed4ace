// The checksum notices every small change, and is the same wherever and whenever it is computed.
#include <QTest>
#include <set>
#include <vector>

#include "engine/common/content_checksum.h"

using namespace qllama;

namespace {

std::vector<std::byte> someBytes(std::size_t count) {
    std::vector<std::byte> bytes(count);
    std::uint32_t state = 7;
    for (std::byte& byte : bytes) {
        state = state * 1664525U + 1013904223U;
        byte = static_cast<std::byte>(state >> 24);
    }
    return bytes;
}

}  // namespace

class TestContentChecksum : public QObject {
    Q_OBJECT

private slots:
    void everyByteCounts();
    void lengthsAndOrderCount();
    void alignmentDoesNot();
    void staysTheSame();
};

void TestContentChecksum::everyByteCounts() {
    std::vector<std::byte> bytes = someBytes(200);  // whole blocks and a rest
    std::set<std::uint64_t> sums = {contentChecksum(bytes)};
    for (std::size_t index = 0; index < bytes.size(); ++index)
        for (int bit = 0; bit < 8; ++bit) {
            bytes[index] ^= static_cast<std::byte>(1 << bit);
            QVERIFY2(sums.insert(contentChecksum(bytes)).second,
                     qPrintable(QString::number(index)));
            bytes[index] ^= static_cast<std::byte>(1 << bit);
        }
}

void TestContentChecksum::lengthsAndOrderCount() {
    const std::vector<std::byte> zeros(300);
    std::set<std::uint64_t> sums;
    for (std::size_t length = 0; length <= zeros.size(); ++length)
        QVERIFY(sums.insert(contentChecksum(std::span(zeros).first(length))).second);
    QVERIFY(sums.insert(contentChecksum(std::span(zeros), 1)).second);  // another seed
    std::vector<std::byte> bytes = someBytes(256);
    const std::uint64_t before = contentChecksum(bytes);
    std::swap_ranges(bytes.begin(), bytes.begin() + 64, bytes.begin() + 64);
    QVERIFY(contentChecksum(bytes) != before);
    std::swap_ranges(bytes.begin(), bytes.begin() + 64, bytes.begin() + 64);
    std::swap_ranges(bytes.begin(), bytes.begin() + 8, bytes.begin() + 8);
    QVERIFY(contentChecksum(bytes) != before);
}

void TestContentChecksum::alignmentDoesNot() {
    const std::vector<std::byte> bytes = someBytes(500);
    for (std::size_t shift = 1; shift < 9; ++shift) {
        std::vector<std::byte> shifted(shift);
        shifted.insert(shifted.end(), bytes.begin(), bytes.end());
        QCOMPARE(contentChecksum(std::span(shifted).subspan(shift)), contentChecksum(bytes));
    }
}

// Files written by one version are checked by the next.
void TestContentChecksum::staysTheSame() {
    QCOMPARE(contentChecksum({}), std::uint64_t{0xAC3CE8C1042C7606});
    QCOMPARE(contentChecksum(someBytes(1000)), std::uint64_t{0x3497A0705615CCE9});
}

QTEST_GUILESS_MAIN(TestContentChecksum)
#include "test_content_checksum.moc"
