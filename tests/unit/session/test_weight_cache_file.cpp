// The index of the file of quantised weights, with its checksums in order but its numbers not: what is
// taken lies inside the file, everything else is refused.
#include <QTest>
#include <random>

#include "engine/common/content_checksum.h"
#include "engine/quant/weight_cache_file.h"

using namespace qllama;

namespace {

// A file whose payload has room for two matrices, as the program writes it.
std::string fileWith(const std::string& encodedIndex) {
    constexpr std::uint64_t kIndexOffset = 3 * kCachePage;
    CacheIndex named;
    named.key = std::string(32, 'k');
    std::string file =
        encodeCacheHeader(named, kIndexOffset, std::as_bytes(std::span(encodedIndex)));
    file.resize(kIndexOffset, '\0');
    return file + encodedIndex;
}

std::string soundIndex() {
    CacheIndex index;
    index.modelName = "model";
    index.precision = "q8";
    index.matrices = {{"output.weight", BlockFormat::Q8, 16, 64, kCachePage, 1},
                      {"tok_embeddings.weight", BlockFormat::Q4, 16, 64, 2 * kCachePage, 2},
                      {"norm.weight", BlockFormat::PackedBf16, 1, 64, 0, 3}};
    return encodeCacheIndex(index);
}

// Whether it was taken; then with every matrix inside the file.
bool isTaken(const std::string& encodedIndex) {
    const std::string file = fileWith(encodedIndex);
    const auto index = decodeCacheFile(std::as_bytes(std::span(file)));
    if (!index.ok()) return false;
    for (const CachedMatrix& matrix : index.value().matrices) {
        if (matrix.offset > file.size() || matrix.sizeBytes() > file.size() - matrix.offset)
            qFatal("a matrix reaches beyond the file");
        if (matrix.offset < kCachePage && matrix.sizeBytes() > 0)
            qFatal("a matrix lies in the header");
    }
    return true;
}

}  // namespace

class TestWeightCacheFile : public QObject {
    Q_OBJECT

private slots:
    void soundIndexIsTaken() { QVERIFY(isTaken(soundIndex())); }

    // Whatever is quantised has bytes.
    void onlyWhatIsPackedMayBeMissing() {
        CacheIndex index;
        const auto isTakenWithout = [&index](BlockFormat format) {
            index.matrices = {{"output.weight", format, 16, 64, 0, 1}};
            return isTaken(encodeCacheIndex(index));
        };
        QVERIFY(isTakenWithout(BlockFormat::PackedBf16) && isTakenWithout(BlockFormat::PackedF16));
        QVERIFY(!isTakenWithout(BlockFormat::Q8) && !isTakenWithout(BlockFormat::Q4));
    }

    void everyCutIsRefused() {
        const std::string whole = soundIndex();
        for (std::size_t length = 0; length < whole.size(); ++length)
            QVERIFY2(!isTaken(whole.substr(0, length)), qPrintable(QString::number(length)));
    }

    // Wherever a number may begin, one that is likely to hurt.
    void hostileNumbersStayInsideTheFile() {
        const std::string whole = soundIndex();
        int taken = 0;
        for (std::size_t at = 0; at + sizeof(std::uint64_t) <= whole.size(); ++at)
            for (const std::uint64_t number :
                 {0ULL, 1ULL, 2ULL, 1ULL << 16, 1ULL << 30, (1ULL << 30) + 1, 1ULL << 31,
                  1ULL << 62, 1ULL << 63, ~0ULL, ~0ULL - 4095, 8192ULL}) {
                std::string changed = whole;
                std::memcpy(changed.data() + at, &number, sizeof number);
                taken += isTaken(changed) ? 1 : 0;
            }
        QVERIFY(taken > 0);  // in a name or a checksum any number will do
    }

    void changedBytesStayInsideTheFile() {
        std::mt19937 random(1957);  // its sequence is fixed by the standard
        for (int round = 0; round < 5000; ++round) {
            std::string changed = soundIndex();
            for (unsigned count = 1 + random() % 4; count > 0; --count)
                changed[random() % changed.size()] = static_cast<char>(random());
            isTaken(changed);
        }
    }
};

QTEST_GUILESS_MAIN(TestWeightCacheFile)
#include "test_weight_cache_file.moc"
