// Which files are taken, from whatever the user points at. Only names matter here.
#include <unistd.h>

#include <QDir>
#include <QFile>
#include <QTemporaryDir>
#include <QtTest>

#include "engine/checkpoint/discovery.h"

using namespace qllama;

class TestDiscovery : public QObject {
    Q_OBJECT

private slots:
    void init();
    void findsTheFiles_data();
    void findsTheFiles();
    void saysWhatIsMissing_data();
    void saysWhatIsMissing();
    void saysWhatCannotBeOpened();
    void explicitFilesWin();
    void nameIsTheFoldersOwn();

private:
    // Makes empty files; a name that ends with '/' is a folder.
    void make(const QStringList& names) const {
        for (const QString& name : names) {
            const QString path = m_folder->filePath(name);
            QDir().mkpath(name.endsWith('/') ? path : QFileInfo(path).path());
            if (name.endsWith('/')) continue;
            QFile file(path);
            QVERIFY(file.open(QFile::WriteOnly));
        }
    }
    [[nodiscard]] Result<CheckpointFiles> find(const QString& model) const {
        return findCheckpointFiles(
            {.model = m_folder->filePath(model).toStdString(), .tokenizer = {}, .params = {}});
    }
    [[nodiscard]] QString relative(const std::filesystem::path& path) const {
        return QDir(m_folder->path()).relativeFilePath(QString::fromStdString(path.string()));
    }

    std::unique_ptr<QTemporaryDir> m_folder;
};

void TestDiscovery::init() {
    m_folder = std::make_unique<QTemporaryDir>();
    QVERIFY(m_folder->isValid());
}

void TestDiscovery::findsTheFiles_data() {
    QTest::addColumn<QStringList>("files");
    QTest::addColumn<QString>("model");
    QTest::addColumn<QStringList>("weights");
    QTest::addColumn<QString>("tokenizer");
    const QStringList llama{"L/tokenizer.model", "L/7B/params.json", "L/7B/consolidated.00.pth",
                            "L/7B/consolidated.01.pth"};
    const QStringList both{"L/7B/consolidated.00.pth", "L/7B/consolidated.01.pth"};
    const auto row = [](const char* name) -> QTestData& { return QTest::newRow(name); };
    row("folder, tokenizer one up") << llama << "L/7B" << both << "L/tokenizer.model";
    row("folder with a slash") << llama << "L/7B/" << both << "L/tokenizer.model";
    row("through a dot") << llama << "L/./7B/../7B/." << both << "L/tokenizer.model";
    row("first shard") << llama << "L/7B/consolidated.00.pth" << both << "L/tokenizer.model";
    row("second shard") << llama << "L/7B/consolidated.01.pth" << both << "L/tokenizer.model";
    row("params.json") << llama << "L/7B/params.json" << both << "L/tokenizer.model";
    row("tokenizer beside") << llama + QStringList{"L/7B/tokenizer.model"} << "L/7B" << both
                            << "L/7B/tokenizer.model";
    row("no tokenizer") << QStringList{"m/params.json", "m/consolidated.00.pth"} << "m"
                        << QStringList{"m/consolidated.00.pth"} << "";
    row("one file of another name") << QStringList{"m/params.json", "m/my model.pth"} << "m"
                                    << QStringList{"m/my model.pth"} << "";
    row("one .pt") << QStringList{"m/params.json", "m/model.pt"} << "m" << QStringList{"m/model.pt"}
                   << "";
    row("another file beside, by folder")
        << QStringList{"m/params.json", "m/consolidated.00.pth", "m/ema.pth"} << "m"
        << QStringList{"m/consolidated.00.pth"} << "";
    row("another file beside, by name")
        << QStringList{"m/params.json", "m/consolidated.00.pth", "m/ema.pth"} << "m/ema.pth"
        << QStringList{"m/ema.pth"} << "";
    const QStringList unzipped{"m/params.json", "m/consolidated.00/data.pkl",
                               "m/consolidated.01/data.pkl"};
    const QStringList folders{"m/consolidated.00", "m/consolidated.01"};
    row("unzipped") << unzipped << "m" << folders << "";
    row("unzipped, by shard") << unzipped << "m/consolidated.00" << folders << "";
    row("unzipped with prefix") << QStringList{"m/params.json",
                                               "m/consolidated.00/archive/data.pkl"}
                                << "m" << QStringList{"m/consolidated.00/archive"} << "";
    row("unzipped under another name") << QStringList{"m/params.json", "m/archive/data.pkl"} << "m"
                                       << QStringList{"m/archive"} << "";
    row("unzipped, itself") << QStringList{"m/params.json", "m/weights/data.pkl"} << "m/weights"
                            << QStringList{"m/weights"} << "";
    row("zipped and unzipped") << QStringList{"m/params.json", "m/consolidated.00.pth",
                                              "m/consolidated.00/data.pkl"}
                               << "m" << QStringList{"m/consolidated.00.pth"} << "";
    row("non-ASCII") << QStringList{"模型 é/params.json", "模型 é/consolidated.00.pth"} << "模型 é"
                     << QStringList{"模型 é/consolidated.00.pth"} << "";
}

void TestDiscovery::findsTheFiles() {
    QFETCH(QStringList, files);
    QFETCH(QString, model);
    QFETCH(QStringList, weights);
    QFETCH(QString, tokenizer);
    make(files);
    const auto found = find(model);
    QVERIFY2(found.ok(), found.ok() ? "" : found.error().text().c_str());
    QStringList foundWeights;
    for (const auto& path : found.value().weights)
        foundWeights << relative(path);
    QCOMPARE(foundWeights, weights);
    QVERIFY(QFile::exists(QString::fromStdString(found.value().params.string())));
    QVERIFY(found.value().params.is_absolute());
    QCOMPARE(found.value().tokenizer ? relative(*found.value().tokenizer) : QString(), tokenizer);
}

void TestDiscovery::saysWhatIsMissing_data() {
    QTest::addColumn<QStringList>("files");
    QTest::addColumn<QString>("model");
    QTest::addColumn<QString>("words");
    const auto row = [](const char* name) -> QTestData& { return QTest::newRow(name); };
    row("nothing there") << QStringList{} << "m"
                         << "no file or folder";
    row("empty folder") << QStringList{"m/"} << "m"
                        << "no weights|consolidated.00.pth";
    row("one folder too high") << QStringList{"L/7B/consolidated.00.pth"} << "L"
                               << "no weights|\"7B\" holds a model";
    row("no params.json") << QStringList{"m/consolidated.00.pth"} << "m"
                          << "params.json is missing|--params";
    row("params.json alone") << QStringList{"m/params.json"} << "m/params.json"
                             << "no weights";
    row("gap") << QStringList{"m/params.json", "m/consolidated.00.pth", "m/consolidated.03.pth"}
               << "m"
               << "consolidated.01.pth, consolidated.02.pth are missing";
    row("first missing") << QStringList{"m/params.json", "m/consolidated.01.pth"} << "m"
                         << "consolidated.00.pth is missing";
    row("gap in folders") << QStringList{"m/params.json", "m/consolidated.01/data.pkl"} << "m"
                          << "consolidated.00 is missing";
    row("absurd number") << QStringList{"m/params.json", "m/consolidated.99999.pth"} << "m"
                         << "consolidated.99999.pth|too high";
    row("several names") << QStringList{"m/params.json", "m/a.pth", "m/b.pth"} << "m"
                         << "2 files|\"a.pth\"|\"b.pth\"|choose one";
    row("safetensors") << QStringList{"m/model.safetensors"} << "m"
                       << "safetensors|not supported";
    row("gguf") << QStringList{"m/model.gguf"} << "m"
                << "gguf|not supported";
    row("tokenizer") << QStringList{"m/tokenizer.model", "m/consolidated.00.pth"}
                     << "m/tokenizer.model"
                     << "tokenizer, not the model";
}

void TestDiscovery::saysWhatIsMissing() {
    QFETCH(QStringList, files);
    QFETCH(QString, model);
    QFETCH(QString, words);
    make(files);
    const auto found = find(model);
    QVERIFY(!found.ok());
    const QString message = QString::fromStdString(found.error().message);
    for (const QString& word : words.split('|'))
        QVERIFY2(message.contains(word), qPrintable(message));
    QVERIFY2(message.endsWith('.'), qPrintable(message));
    QVERIFY(QString::fromStdString(found.error().where).startsWith(m_folder->path()));
}

void TestDiscovery::saysWhatCannotBeOpened() {
    const auto device = findCheckpointFiles({.model = "/dev/null", .tokenizer = {}, .params = {}});
    QVERIFY(!device.ok());
    QVERIFY2(device.error().message.starts_with("This is a device"),
             device.error().message.c_str());
    QCOMPARE(device.error().where, std::string("/dev/null"));

    make({"m/params.json", "m/consolidated.00.pth"});
    const QString file = m_folder->filePath("m/consolidated.00.pth");
    QVERIFY(QFile::setPermissions(m_folder->filePath("m"), {}));
    QVERIFY(QFile::setPermissions(m_folder->path(), QFile::ReadOther | QFile::ExeOther |
                                                        QFile::ReadOwner | QFile::WriteOwner |
                                                        QFile::ExeOwner));
    // Nothing is closed to root.
    const uid_t self = ::geteuid();
    constexpr uid_t kNobody = 65534;
    QVERIFY(self != 0 || ::seteuid(kNobody) == 0);
    const auto closed = find("m/consolidated.00.pth");
    QVERIFY(self != 0 || ::seteuid(self) == 0);
    QVERIFY(QFile::setPermissions(m_folder->filePath("m"),
                                  QFile::ReadOwner | QFile::WriteOwner | QFile::ExeOwner));
    QVERIFY(!closed.ok());
    QCOMPARE(closed.error().message, std::string("Cannot open this: Permission denied."));
    QCOMPARE(closed.error().where, file.toStdString());
}

void TestDiscovery::explicitFilesWin() {
    make({"m/params.json", "m/tokenizer.model", "m/consolidated.00.pth", "other/p.json",
          "other/t.model"});
    const auto path = [&](const char* name) { return m_folder->filePath(name).toStdString(); };
    const auto found = findCheckpointFiles(
        {.model = path("m"), .tokenizer = path("other/t.model"), .params = path("other/p.json")});
    QVERIFY(found.ok());
    QCOMPARE(relative(found.value().params), QString("other/p.json"));
    QCOMPARE(relative(*found.value().tokenizer), QString("other/t.model"));
}

void TestDiscovery::nameIsTheFoldersOwn() {
    make({"L/7B/params.json", "L/7B/consolidated.00.pth", "Llama-3-8B/original/params.json",
          "Llama-3-8B/original/consolidated.00.pth"});
    QCOMPARE(find("L/7B/").value().name, std::string("7B"));
    QCOMPARE(find("Llama-3-8B/original").value().name, std::string("Llama-3-8B"));
}

QTEST_GUILESS_MAIN(TestDiscovery)
#include "test_discovery.moc"
