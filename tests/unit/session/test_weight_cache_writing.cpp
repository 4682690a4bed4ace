// The file of quantised weights while it is written: matrices that are used from it, a disk that fails,
// and a load that is given up.
#include <QTemporaryDir>
#include <QTest>
#include <cstring>
#include <filesystem>
#include <optional>

#include "engine/quant/weight_cache.h"
#include "tests/support/small_disk.h"

using namespace qllama;
namespace fs = std::filesystem;

namespace {

// Of 3.5 MB.
BlockMatrix someMatrix() {
    const auto bytes = std::make_shared<std::vector<std::byte>>(std::size_t{544} * 128 * 50);
    for (std::size_t i = 0; i < bytes->size(); ++i)
        (*bytes)[i] = static_cast<std::byte>(i * 7 + i / 544);
    BlockMatrix matrix;
    matrix.rows = std::int64_t{16} * 50;
    matrix.columns = std::int64_t{32} * 128;
    matrix.tiles = bytes->data();
    matrix.owner = bytes;
    return matrix;
}
constexpr int kManyMatrices = 24;

}  // namespace

class TestWeightCacheWriting : public QObject {
    Q_OBJECT

private slots:
    void init();
    void keptMatricesCanBeUsedFromTheFile();
    void copiesWithoutBytesAreKnown();
    void unfinishedFilesAreRemoved();

private:
    [[nodiscard]] std::shared_ptr<WeightCache> cacheFor(const BlockMatrix& matrix, int count) const;

    QTemporaryDir m_folder;
    fs::path m_cache;
};

void TestWeightCacheWriting::init() {
    QVERIFY(m_folder.isValid());
    m_cache = fs::path(m_folder.path().toStdString()) / "weights";
    fs::remove_all(m_cache);
}

std::shared_ptr<WeightCache> TestWeightCacheWriting::cacheFor(const BlockMatrix& matrix,
                                                              int count) const {
    WeightCache::Options options{
        .folder = m_cache, .key = "one", .modelName = "one", .precision = "q8"};
    options.payloadBytes = count * (matrix.sizeBytes() + static_cast<std::int64_t>(kCachePage));
    auto cache = WeightCache::open(options, {});
    if (!cache.ok()) qFatal("%s", cache.error().text().c_str());
    return cache.value();
}

void TestWeightCacheWriting::keptMatricesCanBeUsedFromTheFile() {
    // More of them than may wait to be written.
    const BlockMatrix matrix = someMatrix();
    const auto cache = cacheFor(matrix, kManyMatrices);
    std::vector<BlockMatrix> copies;
    for (int i = 0; i < kManyMatrices; ++i) {
        const auto copy = cache->exchange(std::to_string(i), matrix);
        QVERIFY(copy);
        copies.push_back(*copy);
    }
    QCOMPARE(cache->exchange("0", matrix)->tiles, copies[0].tiles);  // another attempt
    QVERIFY(!cache->exchange("more than was said", matrix));
    QVERIFY(cache->finish());
    QVERIFY(cache->notes().empty());
    QVERIFY(clearWeightCache(m_cache).ok());
    const auto size = static_cast<std::size_t>(matrix.sizeBytes());
    for (const BlockMatrix& copy : copies)
        QVERIFY(std::memcmp(copy.tiles, matrix.tiles, size) == 0);
}

// Written by another thread, while the disk fails.
void TestWeightCacheWriting::copiesWithoutBytesAreKnown() {
    const BlockMatrix matrix = someMatrix();
    for (const bool exchanged : {true, false}) {
        const auto cache = cacheFor(matrix, kManyMatrices);
        std::optional<SmallDisk> disk(20'000);
        for (int i = 0; i < kManyMatrices; ++i)
            if (exchanged)
                cache->exchange(std::to_string(i), matrix);
            else
                cache->keep(std::to_string(i), matrix);
        const bool whole = cache->finish();
        disk.reset();
        QCOMPARE(whole, !exchanged);
        QCOMPARE(cache->notes().size(), std::size_t{1});
        QVERIFY(fs::is_empty(m_cache));
    }
}

void TestWeightCacheWriting::unfinishedFilesAreRemoved() {
    const BlockMatrix matrix = someMatrix();
    auto cache = cacheFor(matrix, kManyMatrices);
    for (int i = 0; i < kManyMatrices; ++i)
        cache->exchange(std::to_string(i), matrix);
    cache.reset();  // in the middle of it
    QVERIFY(fs::is_empty(m_cache));
}

QTEST_GUILESS_MAIN(TestWeightCacheWriting)
#include "test_weight_cache_writing.moc"
