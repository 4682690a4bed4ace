// Checkpoints made to cost more than they are (tests/support/write_hostile_checkpoints.py), and a sound
// one with the bits and numbers that decide how it is read changed in turn: opening it, and running
// what opens, gives a model or a sentence, and takes neither much memory nor long.
#include <QFile>
#include <QTemporaryDir>
#include <QTextStream>
#include <QtTest>
#include <random>

#include "engine/checkpoint/checkpoint_reader.h"
#include "engine/session/inspection.h"
#include "engine/session/model_loader.h"
#include "tests/support/torch_files.h"

using namespace qllama;

namespace {

// All files of this test have a megabyte at most once inflated, but for the pickle of nine.
constexpr qint64 kMuchMemory = 512LL << 20;

Result<Checkpoint> openFolder(const QString& path) {
    return openCheckpoint({.model = path.toStdString(), .tokenizer = {}, .params = {}}, {});
}

// The most memory that was resident at once since startMeasuring(), with what was there before.
qint64 peakBytes() {
    QFile status(QStringLiteral("/proc/self/status"));
    if (!status.open(QFile::ReadOnly)) return -1;
    for (const QByteArray& line : status.readAll().split('\n'))
        if (line.startsWith("VmHWM:"))
            return line.mid(6).simplified().split(' ')[0].toLongLong() * 1024;
    return -1;
}

bool startMeasuring() {
    QFile references(QStringLiteral("/proc/self/clear_refs"));
    return references.open(QFile::WriteOnly) && references.write("5") == 1;
}

QByteArray contentOf(const QString& path) {
    QFile file(path);
    return file.open(QFile::ReadOnly) ? file.readAll() : QByteArray();
}

// In place: writing files anew thousands of times makes some file systems slow.
bool overwrite(const QString& path, const QByteArray& content) {
    QFile file(path);
    return file.open(QFile::ReadWrite) && file.write(content) == content.size();
}

// One token through what was opened, on the processor, as a user would.
Result<void> run(const QString& folder) {
    LoadRequest request;
    request.location.model = folder.toStdString();
    request.threadCount = 1;
    request.needsTokenizer = false;
    QLLAMA_TRY(const auto model, loadModel(request, {}, {}));
    const TokenId tokens[] = {0};
    return model->transformer->forward(tokens, {}, {});
}

void isSentence(const Error& error) {
    const QString message = QString::fromStdString(error.message);
    QVERIFY2(message.front().isUpper() && message.endsWith('.'), qPrintable(message));
}

}  // namespace

class TestHostileCheckpoints : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void costsLittle_data();
    void costsLittle();
    void changedBitsGiveAModelOrASentence();
    void changedNumbersGiveAModelOrASentence();

private:
    struct Place {  // [begin, end) in the sound file
        qsizetype begin = 0;
        qsizetype end = 0;
    };
    std::vector<Place> places(const QString& kind) const;
    void tryChanged(const QByteArray& changed, int runEach);

    QTemporaryDir m_folder;
    int m_opened = 0;
    int m_ran = 0;
};

void TestHostileCheckpoints::initTestCase() {
    QVERIFY(m_folder.isValid());
    QVERIFY(writeTorchFiles("write_hostile_checkpoints.py", m_folder.path()));
}

void TestHostileCheckpoints::costsLittle_data() {
    QTest::addColumn<QString>("refusal");  // none: it opens
    QTest::newRow("long-name-of-many-entries") << "";
    QTest::newRow("long-name-of-many-tensors") << "unusable name";
    QTest::newRow("long-storage-key") << "torch never does";
    QTest::newRow("long-lists-as-pairs") << "";
    QTest::newRow("one-list-of-pairs-for-many") << "";
    QTest::newRow("a-note-for-each-of-many-tensors") << "";
    QTest::newRow("many-dictionaries-of-tensors") << "10000 dictionaries";
    QTest::newRow("many-items") << "8000000 items";
    QTest::newRow("empty-and-endless") << "impossible size";
}

void TestHostileCheckpoints::costsLittle() {
    QFETCH(QString, refusal);
    QVERIFY(startMeasuring());
    const qint64 before = peakBytes();
    const auto checkpoint = openFolder(m_folder.filePath(QTest::currentDataTag()));
    const qint64 taken = peakBytes() - before;
    QVERIFY2(taken < kMuchMemory, qPrintable(QString::number(taken)));
    QCOMPARE(checkpoint.ok(), refusal.isEmpty());
    if (!checkpoint.ok()) {
        isSentence(checkpoint.error());
        const QString message = QString::fromStdString(checkpoint.error().message);
        QVERIFY2(message.contains(refusal), qPrintable(message));
        QVERIFY(message.size() < 1000);
        return;
    }
    std::size_t notesBytes = 0;
    for (const std::string& note : checkpoint.value().notes)
        notesBytes += note.size();
    QVERIFY2(notesBytes < 2000, qPrintable(QString::number(notesBytes)));
}

std::vector<TestHostileCheckpoints::Place> TestHostileCheckpoints::places(
    const QString& kind) const {
    QFile file(m_folder.filePath("places.txt"));
    if (!file.open(QFile::ReadOnly)) return {};
    std::vector<Place> found;
    for (QTextStream stream(&file); !stream.atEnd();) {
        const QStringList words = stream.readLine().split(' ');
        if (words[0] == kind) found.push_back({words[1].toLongLong(), words[2].toLongLong()});
    }
    return found;
}

// What a user could do with a file: look at it, and (in one of `runEach` cases, for the time it takes)
// run it.
void TestHostileCheckpoints::tryChanged(const QByteArray& changed, int runEach) {
    const QString folder = m_folder.filePath("sound");
    QVERIFY(overwrite(folder + "/consolidated.00.pth", changed));
    const auto inspected = inspect({.model = folder.toStdString(), .tokenizer = {}, .params = {}});
    if (!inspected.ok()) return isSentence(inspected.error());
    if (!inspected.value().config || m_opened++ % runEach != 0) return;
    const Result<void> done = run(folder);
    if (!done.ok()) return isSentence(done.error());
    ++m_ran;
}

void TestHostileCheckpoints::changedBitsGiveAModelOrASentence() {
    const QByteArray whole = contentOf(m_folder.filePath("sound/consolidated.00.pth"));
    QVERIFY(startMeasuring());
    const qint64 before = peakBytes();
    std::mt19937 random(1957);  // its sequence is fixed by the standard
    int tried = 0;
    m_opened = m_ran = 0;
    for (const Place& place : places("bits")) {
        for (qsizetype at = place.begin; at < place.end; at += 1 + random() % 3, ++tried) {
            QByteArray changed = whole;
            changed[at] = static_cast<char>(changed[at] ^ (1 << random() % 8));
            tryChanged(changed, 16);
            if (QTest::currentTestFailed()) qFatal("at byte %lld", static_cast<long long>(at));
        }
    }
    tryChanged(whole, 1);
    QVERIFY2(tried > 2000 && m_ran > 0 && m_opened < tried / 2,
             qPrintable(QString::number(m_opened)));
    QVERIFY(peakBytes() - before < kMuchMemory);
}

// Counts of elements, offsets, shapes and strides.
void TestHostileCheckpoints::changedNumbersGiveAModelOrASentence() {
    const QByteArray whole = contentOf(m_folder.filePath("sound/consolidated.00.pth"));
    QVERIFY(startMeasuring());
    const qint64 before = peakBytes();
    int tried = 0;
    m_opened = m_ran = 0;
    for (const Place& place : places("number")) {
        for (const quint32 value : {0U, 1U, 15U, 17U, 0x7FU, 0xFFFFU, 0x7FFFFFFFU, 0x80000000U}) {
            QByteArray changed = whole;
            for (qsizetype at = place.begin; at < place.end; ++at)
                changed[at] = static_cast<char>(value >> 8 * (at - place.begin));
            ++tried;
            tryChanged(changed, 2);
            if (QTest::currentTestFailed())
                qFatal("at byte %lld", static_cast<long long>(place.begin));
        }
    }
    tryChanged(whole, 1);
    QVERIFY2(tried > 500 && m_ran > 0 && m_opened < tried / 2,
             qPrintable(QString::number(m_opened)));
    QVERIFY(peakBytes() - before < kMuchMemory);
}

QTEST_GUILESS_MAIN(TestHostileCheckpoints)
#include "test_hostile_checkpoints.moc"
