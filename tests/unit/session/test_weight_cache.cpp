// Weights that were made, kept on disk: the second start takes them as they are, every kind of damage is
// noticed and mended, and a disk that cannot be written to keeps no model from loading.
#include <QTest>
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <span>
#include <tuple>

#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/device.h"
#include "engine/common/content_checksum.h"
#include "engine/quant/weight_cache.h"
#include "engine/session/model_loader.h"
#include "engine/session/model_maker.h"
#include "engine/session/weight_cache_key.h"
#include "tests/support/small_disk.h"
#include "tests/unit/session/kept_model.h"

using namespace qllama;
using namespace qllama::test;
namespace fs = std::filesystem;

namespace {

std::vector<char> contentOf(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void overwrite(const fs::path& path, const std::vector<char>& content) {
    fs::remove(path);  // not the mapped file of a model that is still loaded
    std::ofstream(path, std::ios::binary)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
}

}  // namespace

class TestWeightCache : public QObject, private KeptModel {
    Q_OBJECT

private slots:
    void initTestCase() { QVERIFY(make()); }
    void init() { beginCache(); }
    void secondStartTakesTheFile_data();
    void secondStartTakesTheFile();
    void damageIsMended_data();
    void damageIsMended();
    void aFileThatLacksATensorIsReplaced();
    void unwritableIsANote();
    void aDiskThatFailsIsANote();
    void stopLeavesNoFile();
    void leftoversAreRemoved();
    void filesOfEarlierVersionsAreRemoved();
    void keysFollowTheContent();
    void keysFollowTheRounding();
    void listsAndClears();
};

void TestWeightCache::secondStartTakesTheFile_data() {
    QTest::addColumn<int>("precision");
    QTest::newRow("q8") << static_cast<int>(Precision::Q8);
    QTest::newRow("q4") << static_cast<int>(Precision::Q4);
    QTest::newRow("packed") << static_cast<int>(Precision::Packed);
}

void TestWeightCache::secondStartTakesTheFile() {
    QFETCH(int, precision);
    const auto wanted = static_cast<Precision>(precision);
    const fs::path cache = std::exchange(m_cache, fs::path());
    const Loaded without = load(wanted);
    m_cache = cache;
    const Loaded first = load(wanted);
    QVERIFY(first.notes.empty());
    QVERIFY(first.logits == without.logits);
    const fs::path file = onlyFile(m_cache);
    QVERIFY(!file.empty());

    // What the second start uses is what the file says: a changed weight with a matching checksum
    // comes through.
    const Checkpoint checkpoint = open(modelFolder());
    const WeightCache::Options options{.folder = m_cache,
                                       .key = weightCacheKey(checkpoint, wanted),
                                       .modelName = "changed",
                                       .precision = "changed"};
    const auto changedBefore = fs::last_write_time(file);
    const Loaded second = load(wanted);
    QVERIFY(second.notes.empty());
    QVERIFY(second.logits == first.logits);
    QCOMPARE(fs::last_write_time(file).time_since_epoch().count(),
             changedBefore.time_since_epoch().count());

    auto found = WeightCache::open(options, {});
    QVERIFY(found.ok() && found.value()->wasFound());
    auto output =
        found.value()->find("output.weight", *madeFormat(wanted, DType::BF16, 101, 64), 101, 64);
    QVERIFY(output.has_value());
    std::vector<std::byte> tiles(output->tiles, output->tiles + output->tilesBytes());
    std::fill(tiles.begin(), tiles.end(), std::byte{0});
    found.value().reset();
    fs::remove(file);
    auto rewritten = WeightCache::open(options, {});
    QVERIFY(rewritten.ok() && !rewritten.value()->wasFound());
    for (const auto& [name, tensor] : checkpoint.tensors) {
        if (tensor.shape.size() != 2) continue;
        BlockMatrix zero;
        zero.format = *madeFormat(wanted, DType::BF16, 101, 64);
        zero.rows = tensor.shape[0];
        zero.columns = tensor.shape[1];
        const auto bytes =
            std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(zero.sizeBytes()));
        zero.placeAt(bytes->data(), bytes);
        rewritten.value()->keep(name, zero);
    }
    QVERIFY(rewritten.value()->finish());
    QVERIFY(rewritten.value()->notes().empty());
    rewritten.value().reset();
    for (const float logit : load(wanted).logits)
        QCOMPARE(logit, 0.0F);
}

void TestWeightCache::damageIsMended_data() {
    QTest::addColumn<int>("precision");
    QTest::addColumn<double>("share");  // of the file
    QTest::addColumn<int>("offset");    // from there
    for (const auto& [name, share, offset] : {std::tuple{"magic", 0.0, 0},
                                              {"key", 0.0, 20},
                                              {"header", 0.0, 60},
                                              {"first weight", 0.0, 4096},
                                              {"some weight", 0.6, 0},
                                              {"index", 1.0, -30},
                                              {"last byte", 1.0, -1}}) {
        for (const Precision precision : {Precision::Q4, Precision::Packed})
            QTest::addRow("%s, %s", std::string(keyOf(precision)).c_str(), name)
                << static_cast<int>(precision) << share << offset;
    }
}

void TestWeightCache::damageIsMended() {
    QFETCH(int, precision);
    QFETCH(double, share);
    QFETCH(int, offset);
    const auto wanted = static_cast<Precision>(precision);
    const Loaded first = load(wanted);
    const std::vector<char> sound = contentOf(onlyFile(m_cache));
    auto position = static_cast<std::size_t>(share * static_cast<double>(sound.size())) +
                    static_cast<std::size_t>(offset);
    while (sound[position] == 0)  // the padding between matrices is nobody's
        ++position;
    std::vector<char> changed = sound;
    changed[position] = static_cast<char>(changed[position] ^ 0x10);
    const std::vector<char> cut(sound.begin(),
                                sound.begin() + static_cast<std::ptrdiff_t>(position));
    for (const std::vector<char>& content : {changed, cut}) {
        overwrite(onlyFile(m_cache), content);
        const Loaded second = load(wanted);
        QCOMPARE(second.notes.size(), std::size_t{1});
        QVERIFY2(second.notes[0].find("damaged") != std::string::npos, second.notes[0].c_str());
        QVERIFY(second.logits == first.logits);
        QVERIFY(contentOf(onlyFile(m_cache)) == sound);
        QVERIFY(load(wanted).notes.empty());
    }
}

void TestWeightCache::aFileThatLacksATensorIsReplaced() {
    const std::string key = weightCacheKey(open(modelFolder()), Precision::Q8);
    const WeightCache::Options options{
        .folder = m_cache, .key = key, .modelName = "half", .precision = "q8"};
    auto cache = WeightCache::open(options, {});
    QVERIFY(cache.ok());
    const std::vector<std::byte> tiles(544);
    BlockMatrix matrix;
    matrix.rows = 16;
    matrix.columns = 32;
    matrix.tiles = tiles.data();
    cache.value()->keep("output.weight", matrix);
    QVERIFY(cache.value()->finish());
    cache.value().reset();
    const Loaded first = load(Precision::Q8);  // quantises, and does away with the file
    QVERIFY(onlyFile(m_cache).empty());
    QVERIFY(load(Precision::Q8).logits == first.logits);
    QVERIFY(fs::file_size(onlyFile(m_cache)) > 10'000);
}

void TestWeightCache::unwritableIsANote() {
    fs::create_directories(m_cache.parent_path());
    std::ofstream(m_cache) << "a file where the folder should be";
    const Loaded first = load(Precision::Q8);
    QCOMPARE(first.notes.size(), std::size_t{1});
    QVERIFY2(first.notes[0].find("could not be kept") != std::string::npos, first.notes[0].c_str());
    fs::remove(m_cache);

    std::optional<SmallDisk> disk(20'000);
    const Loaded second = load(Precision::Q8);
    disk.reset();
    QCOMPARE(second.notes.size(), std::size_t{1});
    QVERIFY2(second.notes[0].find("too large") != std::string::npos, second.notes[0].c_str());
    QVERIFY(second.logits == first.logits);
    QVERIFY(fs::is_empty(m_cache));
}

// With the place reserved, and the model meant to lie there.
void TestWeightCache::aDiskThatFailsIsANote() {
    const Loaded sound = load(Precision::Q4);
    QVERIFY(sound.notes.empty());
    fs::remove_all(m_cache);
    std::optional<SmallDisk> disk;
    const Loaded failing = load(Precision::Q4, [&disk](const LoadProgress& progress) {
        if (progress.doneBytes == progress.totalBytes && !disk) disk.emplace(rlim_t{20'000});
    });
    disk.reset();
    QCOMPARE(failing.notes.size(), std::size_t{1});
    QVERIFY2(failing.notes[0].find("too large") != std::string::npos, failing.notes[0].c_str());
    QVERIFY(failing.logits == sound.logits);
    QVERIFY(fs::is_empty(m_cache));
}

void TestWeightCache::stopLeavesNoFile() {
    LoadRequest request;
    request.location.model = modelFolder();
    request.precision = Precision::Q8;
    request.needsTokenizer = false;
    request.weightCacheFolder = m_cache;
    std::stop_source stop;
    const auto model = loadModel(
        request,
        [&stop](const LoadProgress& progress) {
            if (progress.doneBytes * 2 > progress.totalBytes) stop.request_stop();
        },
        stop.get_token());
    QVERIFY(!model.ok());
    QCOMPARE(model.error().code, ErrorCode::Cancelled);
    QVERIFY(fs::exists(m_cache) && fs::is_empty(m_cache));
}

void TestWeightCache::leftoversAreRemoved() {
    fs::create_directories(m_cache);
    std::ofstream(m_cache / "0123.abcdef.partial") << "left behind by a crash";
    std::ofstream(m_cache / "notes.txt") << "somebody's";
    const WeightCache::Options options{
        .folder = m_cache, .key = "one", .modelName = "one", .precision = "q8"};
    auto writing = WeightCache::open(options, {});
    QVERIFY(!fs::exists(m_cache / "0123.abcdef.partial"));
    // While it is written, neither another writer nor clearing takes the file away.
    auto other = WeightCache::open(options, {});
    QVERIFY(clearWeightCache(m_cache).ok());
    const auto partials = std::count_if(
        fs::directory_iterator(m_cache), {},
        [](const fs::directory_entry& entry) { return entry.path().extension() == ".partial"; });
    QCOMPARE(partials, 2);
    writing.value().reset();
    other.value().reset();
    QCOMPARE(std::distance(fs::directory_iterator(m_cache), {}), 1);
    QVERIFY(fs::exists(m_cache / "notes.txt"));
}

void TestWeightCache::filesOfEarlierVersionsAreRemoved() {
    load(Precision::Q8);
    const fs::path kept = onlyFile(m_cache);
    const std::vector<char> content = contentOf(kept);
    // The version follows the magic and the key, and the checksum of all before it three numbers more.
    const auto ofVersion = [&content](std::uint64_t (*change)(std::uint64_t)) {
        constexpr std::size_t kVersionAt = 8 + 32;
        constexpr std::size_t kChecksumAt = kVersionAt + 4 * sizeof(std::uint64_t);
        std::vector<char> other = content;
        std::uint64_t version;
        std::memcpy(&version, &other[kVersionAt], sizeof version);
        version = change(version);
        std::memcpy(&other[kVersionAt], &version, sizeof version);
        const std::uint64_t checksum =
            contentChecksum(std::as_bytes(std::span(other).first(kChecksumAt)));
        std::memcpy(&other[kChecksumAt], &checksum, sizeof checksum);
        return other;
    };
    const auto beside = [&kept](const char* name) {
        return kept.parent_path() / (name + kept.extension().string());
    };
    overwrite(beside("first"), ofVersion([](std::uint64_t) { return std::uint64_t{1}; }));
    overwrite(beside("earlier"), ofVersion([](std::uint64_t version) { return version - 1; }));
    overwrite(beside("later"), ofVersion([](std::uint64_t version) { return version + 1; }));
    overwrite(beside("damaged"), std::vector<char>(content.size(), 'x'));
    load(Precision::Q4);
    QVERIFY(!fs::exists(beside("first")));
    QVERIFY(!fs::exists(beside("earlier")));
    QVERIFY(fs::exists(beside("later")));
    QVERIFY(fs::exists(beside("damaged")));
    QVERIFY(fs::exists(kept));
    // In the place of what is asked for it is no damage, and no news.
    overwrite(kept, ofVersion([](std::uint64_t) { return std::uint64_t{1}; }));
    QVERIFY(load(Precision::Q8).notes.empty());
    QCOMPARE(contentOf(kept), content);
}

void TestWeightCache::keysFollowTheContent() {
    const auto shape = parseModelShape("dim=64,layers=2,heads=4,kv-heads=2,ffn=160,vocab=101");
    const auto keyOf = [](const fs::path& folder) {
        return weightCacheKey(open(folder), Precision::Q8);
    };
    const std::string key = keyOf(modelFolder());
    QCOMPARE(key.size(), std::size_t{32});
    QCOMPARE(keyOf(modelFolder()), key);
    QVERIFY(weightCacheKey(open(modelFolder()), Precision::Q4) != key);
    // A copy under another name is the same model.
    fs::copy(modelFolder(), path("copy"));
    QCOMPARE(keyOf(path("copy")), key);
    QVERIFY(makeModel({.shape = shape.value(), .folder = path("seed 2"), .seed = 2}, {}, {}).ok());
    QVERIFY(keyOf(path("seed 2")) != key);
    std::ofstream(path("copy") / "params.json", std::ios::app) << " ";
    QVERIFY(keyOf(path("copy")) != key);
}

// Instruction sets that fuse a product with its sum quantise a few weights in a million otherwise than those
// that do not: neither is to take the other's for its own, or a seed would not give the same text.
void TestWeightCache::keysFollowTheRounding() {
    std::set<std::string> fused, apart;
    const std::vector<std::string> found = cpu::describeCpu().simdTargetsFound;
    for (const std::string& target : found) {
        QVERIFY(forceCpuTarget(target).ok());
        (target.starts_with("AVX") ? fused : apart)
            .insert(weightCacheKey(open(modelFolder()), Precision::Q4));
    }
    QVERIFY(forceCpuTarget(found.front()).ok());
    QVERIFY(fused.size() <= 1);
    QCOMPARE(apart.size(), std::size_t{1});
    QVERIFY(!fused.contains(*apart.begin()));
}

void TestWeightCache::listsAndClears() {
    QVERIFY(listWeightCache(m_cache).ok());  // not there: nothing in it
    QVERIFY(listWeightCache(m_cache).value().empty());
    const Loaded before = load(Precision::Q4);
    load(Precision::Q8);
    const std::filesystem::path foreign = m_cache / "0.qweights" / "of another program";
    QVERIFY(std::filesystem::create_directories(foreign));
    const auto entries = listWeightCache(m_cache);
    QCOMPARE(entries.value().size(), std::size_t{2});
    QCOMPARE(entries.value()[0].precision, std::string("q8"));  // the larger one
    QCOMPARE(entries.value()[1].precision, std::string("q4"));
    QCOMPARE(entries.value()[0].modelName, std::string("model"));
    const std::int64_t total = entries.value()[0].sizeBytes + entries.value()[1].sizeBytes;
    QCOMPARE(clearWeightCache(m_cache).value(), total);
    QVERIFY(listWeightCache(m_cache).value().empty());
    QVERIFY(std::filesystem::exists(foreign));
    QVERIFY(load(Precision::Q4).logits == before.logits);
}

QTEST_GUILESS_MAIN(TestWeightCache)
#include "test_weight_cache.moc"
