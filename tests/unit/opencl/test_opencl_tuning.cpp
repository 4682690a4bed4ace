// What the kernels are tuned for a device: no choice changes a bit of the results, and each is made
// once.
#include <QtTest>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "engine/backend/opencl/cache_file.h"
#include "engine/backend/opencl/fault_injection.h"
#include "engine/backend/opencl/opencl_backend.h"
#include "engine/backend/reference/reference_backend.h"
#include "tests/support/backends.h"

using namespace qllama;
using namespace qllama::test;
using opencl::FaultPoint;
using opencl::FormChoice;

namespace {

constexpr std::int64_t kRows = 130;
constexpr std::int64_t kColumns = 530;

constexpr Precision kTuned = Precision::Q8;  // several plans, in each form

CatalogTensor someWeights() {
    return tensorOf("w", {kRows, kColumns}, DType::F16, randomValues(kRows * kColumns, 11, 1.0F));
}

// W x for one position, a few, an odd number and more than every tile.
std::vector<float> products(Backend& backend, Precision precision) {
    std::vector<float> all;
    for (const std::int64_t n : {1, 5, 19, 130}) {
        const auto x = randomValues(n * kColumns, 12, 1.0F);
        const auto before = randomValues(n * kRows, 13, 1.0F);
        const auto result = multiply(backend, someWeights(), x, before, n, precision);
        all.insert(all.end(), result.begin(), result.end());
    }
    return all;
}

std::unique_ptr<Backend> open(const opencl::OpenClOptions& options) {
    auto backend = opencl::createOpenClBackend("opencl:0", options);
    if (backend.ok()) return std::move(backend).value();
    qWarning("%s", backend.error().text().c_str());
    return nullptr;
}

std::vector<std::filesystem::path> tuningFiles() {
    std::vector<std::filesystem::path> files;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(opencl::cacheFolder(), none))
        if (entry.path().filename().string().starts_with("tuning-")) files.push_back(entry.path());
    return files;
}

QByteArray contentOf(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return QByteArray::fromStdString(std::string(std::istreambuf_iterator<char>(file), {}));
}

// A device with one matrix, tuned for it.
struct Tuned {
    std::unique_ptr<Backend> backend;
    std::unique_ptr<Matrix> matrix;
    Result<void> outcome;

    [[nodiscard]] std::string text() const {
        const auto sentences = backend->tuning();
        return sentences.size() == 1 ? sentences.front() : std::string();
    }
};

Tuned tuned(const std::stop_token& stop = {}, std::int64_t tunedWeights = 1) {
    Tuned result;
    result.backend = open({.tunedWeights = tunedWeights});
    result.matrix = std::move(result.backend->loadMatrix(someWeights(), kTuned, {})).value();
    const Matrix* const matrices[] = {result.matrix.get()};
    result.outcome = result.backend->tune(matrices, stop);
    return result;
}

}  // namespace

class TestOpenClTuning : public QObject {
    Q_OBJECT

private slots:
    void everyPlanGivesTheSameBits_data();
    void everyPlanGivesTheSameBits();
    void outcomeIsRemembered();
    void damagedOutcomeIsMeasuredAgain();
    void smallMatricesAreLeftAlone();
    void stopWhileMeasuringIsCancelled();
    void failureWhileMeasuringIsNone();

private:
    // Compiled kernels are shared by the tests, outcomes are not.
    void forgetOutcomes();
};

void TestOpenClTuning::forgetOutcomes() {
    for (const auto& file : tuningFiles())
        std::filesystem::remove(file);
}

void TestOpenClTuning::everyPlanGivesTheSameBits_data() {
    QTest::addColumn<int>("form");
    QTest::addColumn<int>("lanes");
    QTest::addColumn<int>("precision");
    for (const Precision precision : {Precision::Source, Precision::Q8, Precision::Q4}) {
        const QByteArray key = QByteArray::fromStdString(std::string(keyOf(precision)));
        const int number = static_cast<int>(precision);
        QTest::addRow("cpu, 8 lanes, %s", key.data())
            << static_cast<int>(FormChoice::Cpu) << 8 << number;
        QTest::addRow("cpu, 16 lanes, %s", key.data())
            << static_cast<int>(FormChoice::Cpu) << 16 << number;
        QTest::addRow("gpu, %s", key.data()) << static_cast<int>(FormChoice::Gpu) << 0 << number;
    }
}

void TestOpenClTuning::everyPlanGivesTheSameBits() {
    QFETCH(int, form);
    QFETCH(int, lanes);
    QFETCH(int, precision);
    constexpr std::size_t kMostPlans = 4;  // of kernel_plans.cpp
    std::vector<float> usual;
    for (std::size_t plan = 0; plan < kMostPlans; ++plan) {
        const auto backend =
            open({.form = static_cast<FormChoice>(form), .vectorLanes = lanes, .plan = plan});
        QVERIFY(backend);
        const auto results = products(*backend, static_cast<Precision>(precision));
        QCOMPARE(results.size(), std::size_t{kRows * (1 + 5 + 19 + 130)});
        if (plan == 0) {
            usual = results;
            const auto reference = createReferenceBackend({.roundsActivations = true});
            const float difference =
                largestDifference(results, products(*reference, static_cast<Precision>(precision)));
            QVERIFY(difference <= kUnit * (kColumns + 64) * 0.7F * kColumns);
        }
        QVERIFY2(results == usual, qPrintable(QString("plan %1").arg(plan)));
    }
}

void TestOpenClTuning::outcomeIsRemembered() {
    forgetOutcomes();
    const Tuned first = tuned();
    QVERIFY(first.outcome.ok());
    QVERIFY2(first.text().find("measured in") != std::string::npos, first.text().c_str());
    QVERIFY(first.text().find("opencl:0") != std::string::npos);
    QVERIFY(first.text().find("q8 weights of 130 x 530") != std::string::npos);
    QCOMPARE(tuningFiles().size(), std::size_t{1});
    const Tuned second = tuned();
    QVERIFY2(second.text().find("earlier") != std::string::npos, second.text().c_str());
    const auto plansOf = [](const std::string& text) {
        return text.substr(0, text.find_first_of(";", text.find("several")));
    };
    QVERIFY2(second.text().starts_with(plansOf(first.text())), second.text().c_str());
    QVERIFY(products(*first.backend, kTuned) == products(*open({.plan = 0}), kTuned));
}

void TestOpenClTuning::damagedOutcomeIsMeasuredAgain() {
    forgetOutcomes();
    (void)tuned();
    QCOMPARE(tuningFiles().size(), std::size_t{1});
    const auto file = tuningFiles().front();
    const QByteArray good = contentOf(file);
    QByteArray changed = good;
    changed.replace(changed.size() - 12, 6, "damage");
    for (const QByteArray& damaged : {good.left(good.size() - 5), QByteArray(), changed}) {
        std::ofstream(file, std::ios::binary | std::ios::trunc)
            .write(damaged.data(), damaged.size());
        const Tuned again = tuned();
        QVERIFY(again.outcome.ok());
        QVERIFY2(again.text().find("measured in") != std::string::npos, again.text().c_str());
        QVERIFY(contentOf(file) != damaged);
        QVERIFY(tuned().text().find("earlier") != std::string::npos);
    }
}

void TestOpenClTuning::smallMatricesAreLeftAlone() {
    forgetOutcomes();
    const Tuned small = tuned({}, kRows * kColumns + 1);
    QVERIFY(small.outcome.ok());
    QVERIFY(small.backend->tuning().empty());
    QVERIFY(tuningFiles().empty());
}

void TestOpenClTuning::stopWhileMeasuringIsCancelled() {
    // At each command that measuring launches, as far as it goes.
    for (int stopAt : {0, 1, 9}) {
        forgetOutcomes();
        std::stop_source stop;
        const auto backend = open({.tunedWeights = 1});
        const auto matrix = std::move(backend->loadMatrix(someWeights(), kTuned, {})).value();
        const Matrix* const matrices[] = {matrix.get()};
        int seen = 0;
        opencl::setFaultHook([&](FaultPoint point, const std::string&, std::int64_t) {
            if (point == FaultPoint::Enqueue && seen++ == stopAt) stop.request_stop();
            return 0;
        });
        const Result<void> outcome = backend->tune(matrices, stop.get_token());
        opencl::setFaultHook({});
        QVERIFY(!outcome.ok());
        QCOMPARE(outcome.error().code, ErrorCode::Cancelled);
        QVERIFY(tuningFiles().empty());
        // And the device is as good as before.
        QVERIFY(products(*backend, kTuned) == products(*open({.plan = 0}), kTuned));
    }
}

void TestOpenClTuning::failureWhileMeasuringIsNone() {
    const auto expected = products(*open({.plan = 0}), kTuned);
    for (const FaultPoint point : {FaultPoint::Allocation, FaultPoint::Enqueue})
        for (int failAt : {0, 1, 2, 3, 5, 8, 13, 21, 34}) {
            forgetOutcomes();
            const auto backend = open({.tunedWeights = 1});
            const auto matrix = std::move(backend->loadMatrix(someWeights(), kTuned, {})).value();
            const Matrix* const matrices[] = {matrix.get()};
            int seen = 0;
            opencl::setFaultHook([&](FaultPoint at, const std::string&, std::int64_t) {
                return at == point && seen++ == failAt ? -4 : 0;  // out of memory
            });
            const Result<void> outcome = backend->tune(matrices, {});
            opencl::setFaultHook({});
            QVERIFY2(outcome.ok(), outcome.ok() ? "" : outcome.error().text().c_str());
            QCOMPARE(backend->tuning().size(), std::size_t{1});
            QVERIFY(products(*backend, kTuned) == expected);
        }
}

QTEST_GUILESS_MAIN(TestOpenClTuning)
#include "test_opencl_tuning.moc"
