// Models of packed weights: the results of the file's, also from where they are kept, and what happens to
// matrices that cannot be packed or whose exceptions make no sense.
#include <QTest>
#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>

#include "engine/session/weight_cache_key.h"
#include "tests/unit/session/kept_model.h"

using namespace qllama;
using namespace qllama::test;
namespace fs = std::filesystem;

class TestPackedModel : public QObject, private KeptModel {
    Q_OBJECT

private slots:
    void initTestCase() { QVERIFY(make()); }
    void init() { beginCache(); }
    void packedWeightsAreThoseOfTheFile();
    void packedHalvesAreThoseOfTheFile();
    void matricesThatCannotBePackedAreNamed();
    void exceptionsOutsideOfTheMatrixAreMended_data();
    void exceptionsOutsideOfTheMatrixAreMended();
};

void TestPackedModel::exceptionsOutsideOfTheMatrixAreMended_data() {
    QTest::addColumn<quint32>("end");
    QTest::addColumn<int>("column");
    QTest::newRow("column") << 1U << 64;
    QTest::newRow("more than there is room for") << 1000U << 0;
    QTest::newRow("fewer than before") << 0U << 0;
}

// With matching checksums, in a file that has all the others as they should be.
void TestPackedModel::exceptionsOutsideOfTheMatrixAreMended() {
    QFETCH(quint32, end);
    QFETCH(int, column);
    const Loaded expected = load(Precision::Packed);
    const Checkpoint checkpoint = open(modelFolder());
    const WeightCache::Options options{.folder = m_cache,
                                       .key = weightCacheKey(checkpoint, Precision::Packed),
                                       .modelName = "changed",
                                       .precision = "packed"};
    auto sound = WeightCache::open(options, {});
    QVERIFY(sound.ok() && sound.value()->wasFound());
    fs::remove(onlyFile(m_cache));
    auto changed = WeightCache::open(options, {});
    QVERIFY(changed.ok() && !changed.value()->wasFound());
    for (const auto& [name, tensor] : checkpoint.tensors) {
        if (tensor.shape.size() != 2) continue;
        auto matrix =
            sound.value()->find(name, BlockFormat::PackedBf16, tensor.shape[0], tensor.shape[1]);
        QVERIFY(matrix.has_value());
        if (name == "output.weight") {
            const auto bytes = std::make_shared<std::vector<std::byte>>(
                matrix->tiles, matrix->tiles + matrix->sizeBytes());
            matrix->placeAt(bytes->data(), bytes);
            const std::size_t rows = 112;  // whole tiles
            std::vector<std::uint32_t> ends(rows, std::max(end, 1U));
            ends[1] = end;
            const PackedException exception{static_cast<std::uint16_t>(column), 0};
            std::byte* at = bytes->data() + matrix->exceptionsOffset();
            std::memcpy(at, ends.data(), rows * sizeof ends[0]);
            std::memcpy(at + rows * sizeof ends[0], &exception, sizeof exception);
        }
        changed.value()->keep(name, *matrix);
    }
    QVERIFY(changed.value()->finish());
    changed.value().reset();
    sound.value().reset();
    QVERIFY(load(Precision::Packed).logits == expected.logits);  // and does away with the file
    QVERIFY(onlyFile(m_cache).empty());
    QVERIFY(load(Precision::Packed).logits == expected.logits);
    QVERIFY(!onlyFile(m_cache).empty());
}

void TestPackedModel::packedWeightsAreThoseOfTheFile() {
    const Loaded source = load(Precision::Source);
    QVERIFY(load(Precision::Packed).logits == source.logits);
    QVERIFY(load(Precision::Packed).logits == source.logits);  // from the file
}

void TestPackedModel::packedHalvesAreThoseOfTheFile() {
    const fs::path folder = path("halves");
    const auto shape = parseModelShape("dim=512,layers=2,heads=4,kv-heads=2,ffn=1056,vocab=101");
    QVERIFY(shape.ok());
    QVERIFY(
        makeModel({.shape = shape.value(), .folder = folder, .dtype = DType::F16}, {}, {}).ok());
    const Loaded source = loadFrom(folder, Precision::Source);
    for (int start = 0; start < 2; ++start) {  // the second from the file
        const Loaded packed = loadFrom(folder, Precision::Packed);
        QVERIFY(packed.logits == source.logits);
        QVERIFY(packed.weightBytes < source.weightBytes);
    }
    QVERIFY(!onlyFile(m_cache).empty());
}

// Every second weight of the output is zero.
void TestPackedModel::matricesThatCannotBePackedAreNamed() {
    const fs::path sparse = path("sparse");
    fs::copy(modelFolder(), sparse);
    const Checkpoint checkpoint = open(sparse);
    const StoredTensor& part = checkpoint.tensors.at("output.weight").parts.front();
    std::fstream file(part.storage.mapping->path(),
                      std::ios::binary | std::ios::in | std::ios::out);
    for (std::ptrdiff_t element = 0; element < 101 * 64; element += 2) {
        file.seekp(part.data() - part.storage.mapping->bytes().data() + 2 * element);
        file.write("\0", 2);
    }
    file.close();
    LoadRequest request;
    request.location.model = sparse;
    request.precision = Precision::Packed;
    request.needsTokenizer = false;
    request.contextLength = 16;
    request.weightCacheFolder = m_cache;
    for (const char* start : {"first", "second"}) {
        const auto model = loadModel(request, {}, {});
        QVERIFY2(model.ok(), start);
        const ModelInfo& info = model.value()->info;
        QCOMPARE(info.notes.size(), std::size_t{1});
        QVERIFY2(info.notes[0].find("cannot be packed") != std::string::npos, start);
        std::int64_t expected = 101 * 64 * 2;
        for (const auto& [name, tensor] : checkpoint.tensors)
            if (tensor.shape.size() == 2 && name != "output.weight")
                expected +=
                    matrixBytes(Precision::Packed, DType::BF16, tensor.shape[0], tensor.shape[1]);
        QCOMPARE(info.weightBytes, expected);
    }
    auto kept = WeightCache::open({.folder = m_cache,
                                   .key = weightCacheKey(checkpoint, Precision::Packed),
                                   .modelName = "sparse",
                                   .precision = "packed"},
                                  {});
    QVERIFY(kept.ok() && kept.value()->wasFound());
    const auto output = kept.value()->find("output.weight", BlockFormat::PackedBf16, 101, 64);
    QVERIFY(output.has_value() && !output->isMade());
}

QTEST_GUILESS_MAIN(TestPackedModel)
#include "test_packed_model.moc"
