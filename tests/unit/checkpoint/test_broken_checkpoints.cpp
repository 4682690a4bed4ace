// Damaged, strange and hostile files (tests/support/write_broken_checkpoints.py): each is refused in
// one sentence with the words that matter, nothing crashes, nothing that a file asks for is run.
#include <QDir>
#include <QFile>
#include <QTemporaryDir>
#include <QtTest>
#include <random>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/common/mapped_file.h"
#include "tests/support/torch_files.h"

using namespace qllama;

namespace {

struct BrokenCase {
    const char* folder;
    const char* words;  // that the message must contain, between '|'
    ErrorCode code = ErrorCode::InvalidFile;
};

constexpr BrokenCase kOtherFiles[] = {
    {"empty-file", "empty"},
    {"html-page", "HTML page|failed download", ErrorCode::Unsupported},
    {"html-fragment", "HTML page|failed download", ErrorCode::Unsupported},
    {"xml-error", "XML|failed download", ErrorCode::Unsupported},
    {"git-lfs-pointer", "Git LFS pointer|git lfs pull", ErrorCode::Unsupported},
    {"gguf", "GGUF", ErrorCode::Unsupported},
    {"ggml", "GGML", ErrorCode::Unsupported},
    {"safetensors", "safetensors", ErrorCode::Unsupported},
    {"gzip", "gzip|Unpack", ErrorCode::Unsupported},
    {"tar-archive", "tar archive", ErrorCode::Unsupported},
    {"json-as-weights", "JSON file, not weights", ErrorCode::Unsupported},
    {"zero-bytes", "zero bytes|interrupted", ErrorCode::Unsupported},
    {"foreign-pickle", "pickle|not one that torch.save wrote", ErrorCode::Unsupported},
    {"plain-text", "not a checkpoint"},
    {"numpy-array", "not a checkpoint"},
    {"hugging-face", "Hugging Face|Meta's layout", ErrorCode::Unsupported},
};

constexpr BrokenCase kArchives[] = {
    {"missing-member", "data/3|missing|incomplete"},
    {"missing-pickle", "no \"data.pkl\"|archive/data/0"},
    {"empty-archive", "truncated or damaged|22 bytes"},
    {"zipped-checkpoint", "llama/consolidated.00.pth|Unpack it"},
    {"two-checkpoints", "several checkpoints|one/data.pkl|two/data.pkl"},
    {"torchscript", "TorchScript|state_dict()", ErrorCode::Unsupported},
    {"big-endian", "byte order \"big\"|\"little\"", ErrorCode::Unsupported},
    {"duplicate-member", "two members named \"a/data/0\""},
    {"bzip2", "compression other than deflate", ErrorCode::Unsupported},
    {"huge-pickle", "a/data.pkl|83886080 bytes|67108864"},
    {"deflate-bomb", "a/data/0|83886080 bytes|more than its 4 elements"},
    {"encrypted", "encrypted", ErrorCode::Unsupported},
    {"other-local-header", "data/0|disagrees with the directory"},
    {"no-local-header", "data/0|disagrees with the directory"},
    {"member-beyond-the-end", "data/0|longer than the whole file"},
    {"two-sizes", "data/0|two different sizes"},
    {"impossible-ratio", "data.pkl|cannot expand to"},
    {"damaged-deflate", "archive/data/0|damaged"},
};

constexpr BrokenCase kHostilePickles[] = {
    {"os-system", "\"os.system\"|nothing was executed"},
    {"posix-system", "\"posix.system\"|nothing was executed"},
    {"nt-system", "\"nt.system\"|nothing was executed"},
    {"os-system-among-weights", "\"os.system\"|nothing was executed"},
    {"os-system-by-name", "\"os.system\"|nothing was executed"},
    {"os-system-by-newobj", "\"os.system\"|nothing was executed"},
    {"legacy-os-system", "\"os.system\"|nothing was executed"},
    {"eval", "\"builtins.eval\"|nothing was executed"},
    {"getattr", "\"__builtin__.getattr\"|nothing was executed"},
    {"whole-module", "\"__main__.Transformer\"|plain state dict"},
    {"load-from-bytes", "_load_from_bytes|nothing was executed"},
    {"control-characters-in-name", "o\\x1b[31ms.sys\\x07tem"},
};

constexpr BrokenCase kOddPickles[] = {
    {"protocol-0", "protocol 0|2 to 5", ErrorCode::Unsupported},
    {"protocol-9", "protocol 9|2 to 5", ErrorCode::Unsupported},
    {"no-protocol", "not a binary pickle"},
    {"empty-pickle", "cut short"},
    {"pickle-without-end", "cut short"},
    {"unknown-opcode", "opcode 255"},
    {"extension-opcode", "opcode 130"},
    {"empty-stack", "takes a value that it never made"},
    {"missing-mark", "mark is missing"},
    {"open-mark", "middle of a container"},
    {"unknown-memo", "object 7"},
    {"append-to-number", "adds items to something that holds none"},
    {"key-without-value", "key without a value"},
    {"call-of-text", "not a function"},
    {"arguments-not-a-tuple", "arguments|not a tuple"},
    {"name-not-text", "name is not text"},
    {"endless-name", "name does not end"},
    {"huge-text", "cut short|9223372036854775808"},
    {"huge-bytes", "cut short|4294967295"},
    {"huge-long", "cut short|2147483648"},
    {"deep-marks", "nested more than"},
    {"deep-lists", "nested more than"},
    {"deep-tuples", "nested more than"},
    {"deep-dictionaries", "nested more than"},
    {"million-objects", "more than 2000000 objects"},
    {"number-as-root", "no dictionary of tensors"},
    {"no-tensors", "no dictionary of tensors"},
    {"memo-at-huge-index", "no dictionary of tensors"},
    {"billion-laughs", "no dictionary of tensors"},
    {"contains-itself", "no dictionary of tensors"},
};

constexpr BrokenCase kOddTensors[] = {
    {"storage-too-short", "\"w\"|16 bytes|only 12|truncated or damaged"},
    {"storage-empty", "\"w\"|16 bytes|only 0"},
    {"storage-missing", "archive/data/0|missing"},
    {"storage-announced-too-short", "\"w\"|element 4|which has 3"},
    {"offset-beyond", "\"w\"|element 5|which has 4"},
    {"offset-far-beyond", "\"w\"|impossible size"},
    {"negative-offset", "\"w\"|negative number (-1)|offset"},
    {"negative-shape", "\"w\"|negative number (-4)|shape"},
    {"negative-stride", "\"w\"|negative number (-1)|strides"},
    {"stride-beyond", "\"w\"|[2, 2]|element 5|which has 4"},
    {"shape-overflows", "\"w\"|impossible size"},
    {"stride-overflows", "\"w\"|impossible size"},
    {"bytes-overflow", "\"w\"|impossible size"},
    {"more-than-a-long", "\"w\"|no number as shape"},
    {"repeated-endlessly", "\"w\"|repeats the 4 elements|1099511627776"},
    {"nine-dimensions", "\"w\"|9 dimensions"},
    {"shape-without-strides", "\"w\"|[2, 2]|strides [1]"},
    {"shape-of-text", "\"w\"|no number as shape"},
    {"shape-not-a-list", "\"w\"|no list of numbers as shape"},
    {"too-few-arguments", "\"w\"|too few numbers"},
    {"storage-is-text", "storage|torch never does"},
    {"storage-identifier-short", "storage|torch never does"},
    {"storage-negative-count", "storage|torch never does"},
    {"storage-of-unknown-word", "storage|torch never does"},
    {"storage-key-climbs", "../../params.json|missing"},
    {"wrapped-too-often", "\"w\"|wrapped"},
    {"parameter-of-nothing", "\"w\"|strange"},
    {"name-not-utf8", "unusable name|w\\xff\\xfe"},
    {"two-names-collide", "\"module.w\"|\"w\""},
};

constexpr BrokenCase kShards[] = {
    {"shard-1-missing", "consolidated.01.pth is missing", ErrorCode::NotFound},
    {"first-shard-missing", "consolidated.00.pth is missing", ErrorCode::NotFound},
    {"last-shards-missing", "4 files|only 2|consolidated.02.pth, consolidated.03.pth are missing",
     ErrorCode::NotFound},
    {"one-shard-alone", "2 files|only one of them", ErrorCode::NotFound},
    {"too-many-shards", "1 file|2 are here"},
    {"tensor-missing-from-a-shard", "layers.1.attention.wk.weight|missing from this file"},
    {"shapes-differ-between-shards", "layers.1.attention.wk.weight|[3, 3]|[8, 16]"},
    {"types-differ-between-shards", "layers.0.feed_forward.w1.weight|f32|f16"},
    {"embedding-fits-neither-way", "tok_embeddings.weight|[40, 5]|width 16|vocabulary of 40"},
    {"vector-where-a-matrix-belongs", "layers.0.attention.wv.weight|matrix|[128]"},
    {"norms-differ-between-shards", "norm.weight|[8]|[16]"},
};

constexpr BrokenCase kLegacy[] = {
    {"legacy-other-version", "old torch format|1001", ErrorCode::Unsupported},
    {"legacy-big-endian", "byte order \"big\"", ErrorCode::Unsupported},
    {"legacy-without-keys", "list of its storages is missing"},
    {"legacy-unused-key", "no tensor uses|\"9\""},
    {"legacy-key-missing", "storage \"0\"|missing"},
    {"legacy-number-as-key", "list of its storages"},
    {"legacy-negative-count", "ends before|truncated"},
    {"legacy-huge-count", "ends before|truncated"},
    {"legacy-no-storages", "ends before|truncated"},
    {"legacy-short-storage", "\"w\"|16 bytes|only 12"},
    {"legacy-view-beyond", "\"w\"|16 bytes|only 4"},
};

QByteArray contentOf(const QString& path) {
    QFile file(path);
    return file.open(QFile::ReadOnly) ? file.readAll() : QByteArray();
}

// In place: writing files anew thousands of times makes some file systems slow.
bool overwrite(const QString& path, const QByteArray& content) {
    QFile file(path);
    return file.open(QFile::ReadWrite) && file.write(content) == content.size();
}

Result<Checkpoint> openFolder(const QString& path) {
    return openCheckpoint({.model = path.toStdString(), .tokenizer = {}, .params = {}}, {});
}

// A sanitizer does not watch over mapped files, so the promise of StoredTensor is checked by itself.
bool liesInItsStorage(const StoredTensor& part) {
    std::int64_t end = part.offset + 1;
    for (std::size_t axis = 0; axis < part.shape.size(); ++axis) {
        if (part.shape[axis] == 0) return true;
        end += (part.shape[axis] - 1) * part.strides[axis];
    }
    const auto bytes = part.storage.bytes;
    if (end * sizeOf(part.dtype) > static_cast<std::int64_t>(bytes.size())) return false;
    if (!part.storage.mapping) return true;
    const auto mapped = part.storage.mapping->bytes();
    return bytes.data() >= mapped.data() &&
           bytes.data() + bytes.size() <= mapped.data() + mapped.size();
}

// Touches every value, as loading would.
void readEverything(const Checkpoint& checkpoint) {
    for (const auto& [name, tensor] : checkpoint.tensors) {
        for (const StoredTensor& part : tensor.parts)
            QVERIFY(liesInItsStorage(part));
        if (tensor.shape.empty() || tensor.shape.size() > 2 || !isFloat(tensor.dtype)) continue;
        std::vector<float> row(static_cast<std::size_t>(tensor.shape.back()));
        const std::int64_t rows = tensor.shape.size() == 2 ? tensor.shape[0] : 1;
        for (std::int64_t index = 0; index < rows; ++index)
            tensor.readRow(index, row);
    }
}

}  // namespace

class TestBrokenCheckpoints : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void isRefused_data();
    void isRefused();
    void nothingWasExecuted();
    void everyTruncationIsRefused_data() { validFiles(); }
    void everyTruncationIsRefused();
    void changedBytesNeverCrash_data() { validFiles(); }
    void changedBytesNeverCrash();
    void stopIsHonoured();

private:
    void validFiles() const;

    QTemporaryDir m_folder;
};

void TestBrokenCheckpoints::initTestCase() {
    QVERIFY(m_folder.isValid());
    QVERIFY(writeTorchFiles("write_broken_checkpoints.py", m_folder.path()));
}

void TestBrokenCheckpoints::isRefused_data() {
    QTest::addColumn<QStringList>("words");
    QTest::addColumn<int>("code");
    const auto addRows = [](std::span<const BrokenCase> cases) {
        for (const BrokenCase& broken : cases)
            QTest::newRow(broken.folder)
                << QString(broken.words).split('|') << static_cast<int>(broken.code);
    };
    addRows(kOtherFiles);
    addRows(kArchives);
    addRows(kHostilePickles);
    addRows(kOddPickles);
    addRows(kOddTensors);
    addRows(kShards);
    addRows(kLegacy);
}

void TestBrokenCheckpoints::isRefused() {
    QFETCH(QStringList, words);
    QFETCH(int, code);
    const QString folder = m_folder.filePath(QTest::currentDataTag());
    QVERIFY(QDir(folder).exists());
    const auto checkpoint = openFolder(folder);
    QVERIFY(!checkpoint.ok());
    const QString message = QString::fromStdString(checkpoint.error().message);
    for (const QString& word : words)
        QVERIFY2(message.contains(word), qPrintable(message));
    QVERIFY2(message.front().isUpper() && message.endsWith('.'), qPrintable(message));
    QVERIFY(QString::fromStdString(checkpoint.error().where).startsWith(folder));
    QCOMPARE(static_cast<int>(checkpoint.error().code), code);
}

// The hostile pickles would create this file.
void TestBrokenCheckpoints::nothingWasExecuted() {
    QVERIFY(!QFile::exists(m_folder.filePath("marker")));
}

void TestBrokenCheckpoints::validFiles() const {
    QTest::addColumn<QString>("folder");
    QTest::addColumn<QString>("file");
    QTest::newRow("zip") << m_folder.filePath("valid-zip") << "consolidated.00.pth";
    QTest::newRow("legacy") << m_folder.filePath("valid-legacy") << "consolidated.00.pth";
    QTest::newRow("folder") << m_folder.filePath("valid-folder") << "consolidated.00/data.pkl";
}

void TestBrokenCheckpoints::everyTruncationIsRefused() {
    QFETCH(QString, folder);
    QFETCH(QString, file);
    const QString path = folder + '/' + file;
    const QByteArray whole = contentOf(path);
    QVERIFY(whole.size() > 1000);
    QVERIFY(openFolder(folder).ok());
    for (qsizetype length = whole.size() - 1; length >= 0;
         length -= length < 64 || whole.size() - length < 128 ? 1 : 61) {
        QVERIFY(QFile::resize(path, length));
        const auto checkpoint = openFolder(folder);
        QVERIFY2(!checkpoint.ok(), qPrintable(QString::number(length)));
        QVERIFY(!checkpoint.error().message.empty());
    }
    QVERIFY(overwrite(path, whole));
}

void TestBrokenCheckpoints::changedBytesNeverCrash() {
    QFETCH(QString, folder);
    QFETCH(QString, file);
    const QString path = folder + '/' + file;
    const QByteArray whole = contentOf(path);
    std::mt19937 random(20230224);  // its sequence is fixed by the standard
    int refused = 0;
    for (int round = 0; round < 300; ++round) {
        QByteArray changed = whole;
        const unsigned count = 1 + random() % 4;
        for (unsigned change = 0; change < count; ++change)
            changed[random() % static_cast<unsigned>(changed.size())] = static_cast<char>(random());
        QVERIFY(overwrite(path, changed));
        const auto checkpoint = openFolder(folder);
        if (checkpoint.ok()) readEverything(checkpoint.value());
        if (checkpoint.ok()) continue;
        ++refused;
        QVERIFY(!checkpoint.error().message.empty());
    }
    QVERIFY(overwrite(path, whole));
    QVERIFY(openFolder(folder).ok());
    QVERIFY(refused > 25);
}

void TestBrokenCheckpoints::stopIsHonoured() {
    std::stop_source stop;
    stop.request_stop();
    const auto checkpoint = openCheckpoint(
        {.model = m_folder.filePath("valid-zip").toStdString(), .tokenizer = {}, .params = {}},
        stop.get_token());
    QVERIFY(!checkpoint.ok());
    QCOMPARE(static_cast<int>(checkpoint.error().code), static_cast<int>(ErrorCode::Cancelled));
}

QTEST_GUILESS_MAIN(TestBrokenCheckpoints)
#include "test_broken_checkpoints.moc"
