// What --inspect promises about memory is what loading then really takes.
#include <QFile>
#include <QTemporaryDir>
#include <QtTest>

#include "engine/model/transformer.h"
#include "engine/session/inspection.h"
#include "engine/session/model_loader.h"
#include "tests/support/torch_files.h"

using namespace qllama;

class TestInspection : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void memoryIsWhatLoadingTakes_data();
    void memoryIsWhatLoadingTakes();
    void countsSharedTensorsOnce();
    void describesShards();
    void saysWhatIsWrong();
    void saysWhichNormIsAnotherInAShard();
    void saysWhichShardsAreCopies();
    void contextOfParamsThatIsTooLong();
    void listsWhatCanBeReadOfAPart_data();
    void listsWhatCanBeReadOfAPart();

private:
    [[nodiscard]] Result<Inspection> inspectFolder(const QString& name) const {
        return inspect(
            {.model = m_folder.filePath(name).toStdString(), .tokenizer = {}, .params = {}});
    }

    QTemporaryDir m_folder;
};

void TestInspection::initTestCase() {
    QVERIFY(m_folder.isValid());
    QVERIFY(writeTorchFiles("write_checkpoints.py", m_folder.path()));
}

void TestInspection::memoryIsWhatLoadingTakes_data() {
    QTest::addColumn<QString>("folder");
    for (const char* folder : {"float16", "bfloat16", "float32", "float64", "shards-2"})
        QTest::newRow(folder) << QString(folder);
}

void TestInspection::memoryIsWhatLoadingTakes() {
    QFETCH(QString, folder);
    const auto inspection = inspectFolder(folder);
    QVERIFY(inspection.ok());
    const Checkpoint& checkpoint = inspection.value().checkpoint;
    QVERIFY(inspection.value().config.has_value());
    const LlamaConfig& config = *inspection.value().config;
    QCOMPARE(inspection.value().memory.size(), precisions().size());
    for (const MemoryNeed& need : inspection.value().memory) {
        auto backend = createBackend("cpu", {.threadCount = 1});
        QVERIFY(backend.ok());
        const Precision precision = *precisionFromKey(need.precision);
        auto stage = loadStage(*backend.value(), checkpoint, config, precision, 0,
                               config.layerCount, {}, {});
        QVERIFY(stage.ok());
        std::vector<StageWeights> stages;
        stages.push_back(std::move(stage).value());
        const auto transformer = Transformer::create(
            config, std::move(stages),
            {.contextLength = inspection.value().contextLength,
             .kvPrecision = automaticKvPrecision(precision, checkpoint.tensors, config,
                                                 inspection.value().contextLength)});
        QVERIFY(transformer.ok());
        QCOMPARE(need.weightBytes, transformer.value()->weightBytes());
        QCOMPARE(need.kvCacheBytes, transformer.value()->kvCacheBytes());
    }
}

void TestInspection::countsSharedTensorsOnce() {
    const auto separate = inspectFolder("float16");
    const auto shared = inspectFolder("strided-and-shared");
    QVERIFY(separate.ok() && shared.ok());
    const CatalogTensor& output = shared.value().checkpoint.tensors.at("output.weight");
    QCOMPARE(shared.value().parameterCount,
             separate.value().parameterCount - output.elementCount());
}

void TestInspection::describesShards() {
    const auto inspection = inspectFolder("shards-4");
    QVERIFY(inspection.ok());
    const auto& shards = inspection.value().checkpoint.shards;
    QCOMPARE(shards.size(), std::size_t{4});
    QCOMPARE(shards[3].path.filename().string(), std::string("consolidated.03.pth"));
    QCOMPARE(shards[3].format, std::string("zip"));
    QCOMPARE(shards[3].sizeBytes, QFileInfo(shards[3].path.c_str()).size());
    QCOMPARE(inspectFolder("legacy-float16").value().checkpoint.shards[0].format,
             std::string("legacy"));
    QCOMPARE(inspectFolder("unzipped").value().checkpoint.shards[0].format,
             std::string("unzipped"));
}

void TestInspection::saysWhatIsWrong() {
    const auto noTokenizer = inspectFolder("float32");
    QVERIFY(noTokenizer.ok());
    QVERIFY(!noTokenizer.value().isWhole);
    QCOMPARE(noTokenizer.value().problems.size(), std::size_t{1});
    QVERIFY(noTokenizer.value().problems[0].find("no tokenizer.model") != std::string::npos);

    QFile tokenizer(m_folder.filePath("float16/tokenizer.model"));
    QVERIFY(tokenizer.open(QFile::WriteOnly));
    tokenizer.write("not a tokenizer");
    tokenizer.close();
    QCOMPARE(inspectFolder("float16").value().problems.size(), std::size_t{1});
    QVERIFY(!inspectFolder("float16").value().isWhole);

    QFile params(m_folder.filePath("bfloat16/params.json"));
    QVERIFY(params.open(QFile::WriteOnly));
    params.write(R"({"dim": 16, "n_layers": 3, "n_heads": 4})");
    params.close();
    const auto missingLayer = inspectFolder("bfloat16");
    QVERIFY(missingLayer.ok());
    QVERIFY(!missingLayer.value().isWhole);
    QVERIFY(!missingLayer.value().config.has_value());
    QVERIFY(missingLayer.value().memory.empty());
    QVERIFY(missingLayer.value().problems[0].find("layers.2.") != std::string::npos);

    QVERIFY(!inspectFolder("nothing here").ok());
}

void TestInspection::saysWhichNormIsAnotherInAShard() {
    const auto inspection = inspectFolder("shards-of-two-models");
    QVERIFY(inspection.ok());
    const std::vector<std::string>& problems = inspection.value().problems;
    QCOMPARE(problems.size(), std::size_t{2});  // and that there is no tokenizer
    for (const char* part : {"\"layers.1.attention_norm.weight\"", "consolidated.02.pth",
                             "consolidated.00.pth", "different models"})
        QVERIFY2(problems[0].find(part) != std::string::npos, problems[0].c_str());
    for (const auto& name : {"shards-4", "shards-4-rows"})
        QVERIFY(inspectFolder(name).value().checkpoint.warnings.empty());

    LoadRequest request;
    request.location.model = m_folder.filePath("shards-of-two-models").toStdString();
    request.needsTokenizer = false;
    const auto model = loadModel(request, {}, {});
    QVERIFY2(model.ok(), model.ok() ? "" : model.error().text().c_str());
    QCOMPARE(model.value()->info.notes, std::vector<std::string>{problems[0]});
}

void TestInspection::saysWhichShardsAreCopies() {
    const auto inspection = inspectFolder("shards-with-copies");
    QVERIFY(inspection.ok());
    const std::vector<std::string>& warnings = inspection.value().checkpoint.warnings;
    QCOMPARE(warnings.size(), std::size_t{1});
    QVERIFY2(warnings[0].find("the same weights") != std::string::npos, warnings[0].c_str());
    QVERIFY2(warnings[0].find("consolidated.01.pth, consolidated.02.pth, consolidated.03.pth.") !=
                 std::string::npos,
             warnings[0].c_str());
    for (const auto& name : {"shards-of-ones", "shards-alike-but-first", "shards-alike-but-last"}) {
        const auto others = inspectFolder(name);
        QVERIFY2(others.ok(), name);
        QVERIFY2(others.value().checkpoint.warnings.empty(), name);
    }
}

void TestInspection::contextOfParamsThatIsTooLong() {
    const QString path = m_folder.filePath("float64/params.json");
    QFile params(path);
    QVERIFY(params.open(QFile::ReadOnly));
    const QByteArray text = params.readAll().replace("}", ", \"max_seq_len\": 2147483648}");
    params.close();
    QVERIFY(params.open(QFile::WriteOnly) && params.write(text) == text.size());
    params.close();
    LoadRequest request;
    request.location.model = m_folder.filePath("float64").toStdString();
    request.needsTokenizer = false;
    const auto model = loadModel(request, {}, {});
    QVERIFY(!model.ok());
    const Error& error = model.error();
    QVERIFY2(
        error.message.find("\"max_seq_len\" in params.json is 2147483648") != std::string::npos,
        error.message.c_str());
    QCOMPARE(QString::fromStdString(error.where), path);
    const auto inspection = inspectFolder("float64");
    QVERIFY(inspection.ok());
    QVERIFY(!inspection.value().isWhole);
    QCOMPARE(inspection.value().problems.front(), error.text());
    QVERIFY(inspection.value().memory.empty());
    request.contextLength = 64;
    QVERIFY(loadModel(request, {}, {}).ok());
}

void TestInspection::listsWhatCanBeReadOfAPart_data() {
    QTest::addColumn<QString>("folder");
    QTest::addColumn<QString>("removed");
    QTest::addColumn<QString>("problem");
    QTest::addColumn<int>("shards");
    QTest::addColumn<qint64>("outputRows");  // as they are listed
    QTest::newRow("no params.json") << "shards-4-rows"
                                    << "params.json"
                                    << "params.json is missing" << 4 << qint64{40};
    QTest::newRow("a gap") << "shards-2"
                           << "consolidated.00.pth"
                           << "consolidated.00.pth is missing" << 1 << qint64{20};
    QTest::newRow("the last missing") << "legacy-shards-2"
                                      << "consolidated.01.pth"
                                      << "consolidated.01.pth is missing" << 1 << qint64{20};
}

void TestInspection::listsWhatCanBeReadOfAPart() {
    QFETCH(QString, folder);
    QFETCH(QString, removed);
    QFETCH(QString, problem);
    QFETCH(int, shards);
    QFETCH(qint64, outputRows);
    QVERIFY(QFile::remove(m_folder.filePath(folder + "/" + removed)));
    const auto inspection = inspectFolder(folder);
    QVERIFY2(inspection.ok(), inspection.ok() ? "" : inspection.error().text().c_str());
    const Inspection& found = inspection.value();
    QVERIFY(!found.isWhole && !found.config && found.memory.empty());
    QVERIFY2(QString::fromStdString(found.problems[0]).contains(problem),
             found.problems[0].c_str());
    QCOMPARE(found.checkpoint.shards.size(), static_cast<std::size_t>(shards));
    QCOMPARE(found.checkpoint.tensors.at("output.weight").shape[0], outputRows);
    QCOMPARE(found.checkpoint.notes.size(), std::size_t{shards == 1 ? 1U : 0U});
}

QTEST_GUILESS_MAIN(TestInspection)
#include "test_inspection.moc"
