// Files that torch itself wrote, in every variation that we claim to read, compared value by value
// with what torch says the tensors are (tests/support/write_checkpoints.py).
#include <QDir>
#include <QFile>
#include <QTemporaryDir>
#include <QtTest>
#include <cstring>

#include "engine/checkpoint/checkpoint_reader.h"
#include "tests/support/torch_files.h"

using namespace qllama;

namespace {

struct Expected {
    std::string name;
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
};

std::vector<std::int64_t> parseShape(const QString& text) {
    std::vector<std::int64_t> shape;
    for (const QString& extent : text.split(',', Qt::SkipEmptyParts))
        shape.push_back(extent.toLongLong());
    return shape;
}

QByteArray contentOf(const QString& path) {
    QFile file(path);
    return file.open(QFile::ReadOnly) ? file.readAll() : QByteArray();
}

std::vector<Expected> readExpected(const QString& folder) {
    std::vector<Expected> all;
    const QStringList lines =
        QString::fromUtf8(contentOf(folder + "/index.tsv")).split('\n', Qt::SkipEmptyParts);
    for (const QString& line : lines) {
        const QStringList fields = line.split('\t');
        const QByteArray raw = contentOf(folder + QString("/%1.bin").arg(all.size()));
        Expected expected{fields[0].toStdString(), fields[1].toStdString(), parseShape(fields[2]),
                          std::vector<float>(static_cast<std::size_t>(raw.size()) / sizeof(float))};
        std::memcpy(expected.values.data(), raw.constData(), static_cast<std::size_t>(raw.size()));
        all.push_back(std::move(expected));
    }
    return all;
}

std::vector<float> allValues(const CatalogTensor& tensor) {
    const std::int64_t rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    std::vector<float> values(static_cast<std::size_t>(rows) * columns);
    for (std::int64_t row = 0; row < rows; ++row)
        tensor.readRow(row,
                       std::span(values).subspan(static_cast<std::size_t>(row) * columns, columns));
    return values;
}

QByteArray torchName(DType dtype) {
    switch (dtype) {
        case DType::F64:
            return "float64";
        case DType::F32:
            return "float32";
        case DType::F16:
            return "float16";
        case DType::BF16:
            return "bfloat16";
        default:
            return "other";
    }
}

std::string joined(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines)
        text += line + "\n";
    return text;
}

}  // namespace

class TestCheckpointReader : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void readsWhatTorchWrote_data();
    void readsWhatTorchWrote();
    void notesWhatWasLeftOut();
    void usesTheFileInPlace_data();
    void usesTheFileInPlace();
    void opensFilesBeyondFourGigabytes();
    void ignoresWhatItComputesItself();

private:
    [[nodiscard]] QString path(const QString& name) const { return m_folder.filePath(name); }
    [[nodiscard]] static Result<Checkpoint> open(const QString& path) {
        return openCheckpoint({.model = path.toStdString(), .tokenizer = {}, .params = {}}, {});
    }

    QTemporaryDir m_folder;
};

void TestCheckpointReader::initTestCase() {
    QVERIFY(m_folder.isValid());
    QVERIFY(writeTorchFiles("write_checkpoints.py", m_folder.path()));
}

void TestCheckpointReader::readsWhatTorchWrote_data() {
    QTest::addColumn<QString>("folder");
    const QStringList folders =
        QDir(m_folder.path()).entryList(QDir::Dirs | QDir::NoDotAndDotDot, QDir::Name);
    QVERIFY(folders.size() > 40);
    for (const QString& folder : folders)
        if (QDir(path(folder)).exists("expected"))
            QTest::newRow(folder.toUtf8().constData()) << path(folder);
}

void TestCheckpointReader::readsWhatTorchWrote() {
    QFETCH(QString, folder);
    const auto checkpoint = open(folder);
    QVERIFY2(checkpoint.ok(), checkpoint.ok() ? "" : checkpoint.error().text().c_str());
    const std::vector<Expected> all = readExpected(folder + "/expected");
    QVERIFY(all.size() > 20);
    for (const Expected& expected : all) {
        const auto found = checkpoint.value().tensors.find(expected.name);
        QVERIFY2(found != checkpoint.value().tensors.end(), expected.name.c_str());
        const CatalogTensor& tensor = found->second;
        QCOMPARE(tensor.name, expected.name);
        QCOMPARE(tensor.shape, expected.shape);
        QCOMPARE(torchName(tensor.dtype), QByteArray::fromStdString(expected.dtype));
        const std::vector<float> values = allValues(tensor);
        QCOMPARE(values.size(), expected.values.size());
        const bool isSame =
            std::memcmp(values.data(), expected.values.data(), values.size() * sizeof(float)) == 0;
        QVERIFY2(isSame, expected.name.c_str());
    }
}

void TestCheckpointReader::notesWhatWasLeftOut() {
    const auto training = open(path("training-checkpoint-2"));
    QVERIFY(training.ok());
    const std::string notes = joined(training.value().notes);
    QVERIFY2(notes.find("under \"model\"") != std::string::npos, notes.c_str());
    QVERIFY2(notes.find("\"ema\"") != std::string::npos, notes.c_str());

    const auto extra = open(path("extra-entries"));
    QVERIFY(extra.ok());
    QVERIFY(joined(extra.value().notes).find("ignored: \"step\", \"config\"") != std::string::npos);

    const auto odd = open(path("complex-and-integers"));
    QVERIFY(odd.ok());
    QVERIFY(joined(odd.value().notes).find("\"phase\" was left out") != std::string::npos);
}

void TestCheckpointReader::usesTheFileInPlace_data() {
    QTest::addColumn<QString>("folder");
    QTest::addColumn<QByteArray>("tensor");
    QTest::addColumn<bool>("isInPlace");
    QTest::addColumn<bool>("isMapped");
    QTest::newRow("as torch writes it") << "float16" << QByteArray("output.weight") << true << true;
    QTest::newRow("unzipped") << "unzipped" << QByteArray("output.weight") << true << true;
    QTest::newRow("flat storage") << "one-flat-storage" << QByteArray("output.weight") << true
                                  << true;
    QTest::newRow("transposed") << "strided-and-shared"
                                << QByteArray("layers.0.attention.wq.weight") << false << true;
    QTest::newRow("every third column")
        << "strided-and-shared" << QByteArray("layers.0.attention.wv.weight") << false << true;
    QTest::newRow("deflated") << "deflated" << QByteArray("output.weight") << true << false;
    QTest::newRow("split") << "shards-2" << QByteArray("output.weight") << false << true;
    QTest::newRow("replicated") << "shards-2" << QByteArray("norm.weight") << true << true;
}

void TestCheckpointReader::usesTheFileInPlace() {
    QFETCH(QString, folder);
    QFETCH(QByteArray, tensor);
    QFETCH(bool, isInPlace);
    QFETCH(bool, isMapped);
    const auto checkpoint = open(path(folder));
    QVERIFY(checkpoint.ok());
    const CatalogTensor& found = checkpoint.value().tensors.at(tensor.toStdString());
    QCOMPARE(found.isInPlace(), isInPlace);
    QCOMPARE(found.parts.front().storage.mapping != nullptr, isMapped);
    // Pages that were given back come again with the same values.
    const std::vector<float> before = allValues(found);
    found.releasePages();
    QCOMPARE(allValues(found), before);
}

void TestCheckpointReader::opensFilesBeyondFourGigabytes() {
    const auto checkpoint = open(path("large"));
    QVERIFY2(checkpoint.ok(), checkpoint.ok() ? "" : checkpoint.error().text().c_str());
    for (const char* name : {"tok_embeddings.weight", "output.weight"}) {
        const CatalogTensor& tensor = checkpoint.value().tensors.at(name);
        QCOMPARE(tensor.sizeBytes(), std::int64_t{6} << 30);
        QVERIFY(tensor.isInPlace());
        std::vector<float> row(3 << 10);
        tensor.readRow(tensor.shape[0] - 1, row);
        const std::vector<float> end(row.end() - 5, row.end());
        QCOMPARE(end, (std::vector<float>{0, 1, 2, 3, 4}));
    }
}

void TestCheckpointReader::ignoresWhatItComputesItself() {
    for (const char* folder : {"shards-1", "shards-2"}) {
        const auto checkpoint = open(path(folder));
        QVERIFY(checkpoint.ok());
        for (const auto& [name, tensor] : checkpoint.value().tensors)
            QVERIFY2(name.find("rope.freqs") == std::string::npos, name.c_str());
        QVERIFY2(checkpoint.value().notes.empty(), joined(checkpoint.value().notes).c_str());
    }
}

QTEST_GUILESS_MAIN(TestCheckpointReader)
#include "test_checkpoint_reader.moc"
