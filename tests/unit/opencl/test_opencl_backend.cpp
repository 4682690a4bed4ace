// The OpenCL kernels against the plain loops, on every device found and in both forms, on shapes that
// are multiples of nothing; and what happens when a device refuses.
#include <QTemporaryDir>
#include <QtTest>
#include <fstream>

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

struct Target {
    std::string device;
    FormChoice form;
    std::string name;
};

// A status that OpenCL itself would give.
constexpr int kOutOfMemory = -4;     // CL_MEM_OBJECT_ALLOCATION_FAILURE
constexpr int kOutOfResources = -5;  // CL_OUT_OF_RESOURCES

class FaultGuard {
public:
    explicit FaultGuard(opencl::FaultHook hook) { opencl::setFaultHook(std::move(hook)); }
    ~FaultGuard() { opencl::setFaultHook({}); }
};

QByteArray contentOf(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    return QByteArray::fromStdString(bytes);
}

std::filesystem::path onlyFileIn(const std::filesystem::path& folder, const std::string& prefix) {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        if (entry.path().filename().string().starts_with(prefix)) return entry.path();
    return {};
}

}  // namespace

class TestOpenClBackend : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void matmulAgreesWithPlainLoop_data();
    void matmulAgreesWithPlainLoop();
    void quantisedMatmulAgreesWithPlainLoop_data();
    void quantisedMatmulAgreesWithPlainLoop();
    void severalMatricesInOneCall();
    void matrixLargerThanAnAllocation();
    void attentionAgreesWithPlainLoop_data();
    void attentionAgreesWithPlainLoop();
    void elementwiseStepsAgree();
    void siluOfExtremesStaysFinite();
    void precisionConversionRoundsOnce();
    void stopIsPolledWhileLoading();
    void unknownDeviceIsRefusedWithTheList();
    void everyFailureIsASentence();
    void damagedCacheIsCompiledAgain();
    void profileCountsLaunches();

private:
    std::unique_ptr<Backend> open(const Target& target, std::int64_t largestAllocation = 0);
    template <typename Add>
    void forEachTarget(const Add& add);

    std::vector<Target> m_targets;
};

void TestOpenClBackend::initTestCase() {
    DeviceList list;
    opencl::listDevices(list);
    std::string notes;
    for (const std::string& note : list.notes)
        notes += "\n" + note;
    QVERIFY2(!list.devices.empty(),
             ("No OpenCL device: install pocl-opencl-icd to run these tests." + notes).c_str());
    for (const DeviceInfo& device : list.devices) {
        m_targets.push_back({device.id, FormChoice::Gpu, device.id + " gpu"});
        // A device without room for the local arrays of the other form never gets it.
        if (device.platform != "rusticl")
            m_targets.push_back({device.id, FormChoice::Cpu, device.id + " cpu"});
        qInfo("%s: %s, %s", device.id.c_str(), device.name.c_str(), device.driver.c_str());
    }
}

std::unique_ptr<Backend> TestOpenClBackend::open(const Target& target,
                                                 std::int64_t largestAllocation) {
    auto backend = opencl::createOpenClBackend(
        target.device, {.form = target.form, .largestAllocation = largestAllocation});
    if (backend.ok()) return std::move(backend).value();
    qWarning("%s", backend.error().text().c_str());
    return nullptr;
}

template <typename Add>
void TestOpenClBackend::forEachTarget(const Add& add) {
    for (std::size_t i = 0; i < m_targets.size(); ++i)
        add(static_cast<int>(i), m_targets[i].name.c_str());
}

void TestOpenClBackend::matmulAgreesWithPlainLoop_data() {
    QTest::addColumn<int>("target");
    QTest::addColumn<int>("dtype");
    QTest::addColumn<int>("rows");
    QTest::addColumn<int>("columns");
    QTest::addColumn<int>("n");
    const int shapes[][3] = {{1, 1, 1},    {3, 7, 2},     {17, 33, 1},   {17, 33, 5},
                             {64, 256, 1}, {65, 515, 31}, {130, 530, 1}, {31, 530, 130}};
    forEachTarget([&](int target, const char* name) {
        for (const DType dtype : {DType::F32, DType::F16, DType::BF16})
            for (const auto& shape : shapes)
                QTest::addRow("%s %s %dx%d n=%d", name, std::string(nameOf(dtype)).c_str(),
                              shape[0], shape[1], shape[2])
                    << target << static_cast<int>(dtype) << shape[0] << shape[1] << shape[2];
    });
}

void TestOpenClBackend::matmulAgreesWithPlainLoop() {
    QFETCH(int, target);
    QFETCH(int, dtype);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QFETCH(int, n);
    const auto backend = open(m_targets[static_cast<std::size_t>(target)]);
    QVERIFY(backend);
    const auto weights = tensorOf("w", {rows, columns}, static_cast<DType>(dtype),
                                  randomValues(rows * columns, 11, 1.0F));
    const auto x = randomValues(std::int64_t{n} * columns, 12, 1.0F);
    const auto before = randomValues(std::int64_t{n} * rows, 13, 1.0F);
    const auto reference = createReferenceBackend();
    // |error| <= k u sum|w x|, and the sum of k products of unit normals is about 0.7 k; the
    // products here stay below 4 x 4.
    const float bound =
        kUnit * static_cast<float>(columns + 2) * 0.7F * static_cast<float>(columns) +
        kUnit * 32.0F;
    const float difference = largestDifference(multiply(*backend, weights, x, before, n),
                                               multiply(*reference, weights, x, before, n));
    QVERIFY2(difference <= bound, qPrintable(QString("%1 > %2").arg(difference).arg(bound)));
}

void TestOpenClBackend::quantisedMatmulAgreesWithPlainLoop_data() {
    QTest::addColumn<int>("target");
    QTest::addColumn<int>("precision");
    QTest::addColumn<int>("rows");
    QTest::addColumn<int>("columns");
    QTest::addColumn<int>("n");
    const int shapes[][3] = {{1, 1, 1},     {17, 33, 1},   {16, 32, 2},   {64, 256, 1},
                             {65, 515, 31}, {130, 530, 1}, {31, 530, 130}};
    forEachTarget([&](int target, const char* name) {
        for (const Precision precision : {Precision::Q8, Precision::Q4})
            for (const auto& shape : shapes)
                QTest::addRow("%s %s %dx%d n=%d", name, std::string(keyOf(precision)).c_str(),
                              shape[0], shape[1], shape[2])
                    << target << static_cast<int>(precision) << shape[0] << shape[1] << shape[2];
    });
}

void TestOpenClBackend::quantisedMatmulAgreesWithPlainLoop() {
    QFETCH(int, target);
    QFETCH(int, precision);
    QFETCH(int, rows);
    QFETCH(int, columns);
    QFETCH(int, n);
    const auto form = static_cast<Precision>(precision);
    // Pieces of a few tiles.
    const std::int64_t largest =
        std::max<std::int64_t>({matrixBytes(form, DType::F16, 32, columns),
                                std::int64_t{n} * rows * 4, std::int64_t{n} * columns * 4});
    const auto backend = open(m_targets[static_cast<std::size_t>(target)], largest);
    QVERIFY(backend);
    const auto weights =
        tensorOf("w", {rows, columns}, DType::F16, randomValues(rows * columns, 11, 1.0F));
    const auto x = randomValues(std::int64_t{n} * columns, 12, 1.0F);
    const auto before = randomValues(std::int64_t{n} * rows, 13, 1.0F);
    const auto reference = createReferenceBackend();
    // As for plain rows; scaling after the sum rounds once or twice more for each block.
    const float bound =
        kUnit * static_cast<float>(columns + 64) * 0.7F * static_cast<float>(columns) +
        kUnit * 64.0F;
    const float difference = largestDifference(multiply(*backend, weights, x, before, n, form),
                                               multiply(*reference, weights, x, before, n, form));
    QVERIFY2(difference <= bound, qPrintable(QString("%1 > %2").arg(difference).arg(bound)));
}

void TestOpenClBackend::severalMatricesInOneCall() {
    constexpr std::int64_t kColumns = 40;
    const std::int64_t rows[] = {19, 5, 33, 8};
    const DType dtypes[] = {DType::F16, DType::F16, DType::F16, DType::F32};
    const auto x = randomValues(kColumns, 1, 1.0F);
    for (const Target& target : m_targets) {
        std::vector<float> results[2];
        const auto backend = open(target);
        const auto reference = createReferenceBackend();
        Backend* const both[] = {backend.get(), reference.get()};
        for (int side = 0; side < 2; ++side) {
            Backend& b = *both[side];
            const auto in = bufferOf(b, x);
            std::vector<std::unique_ptr<Matrix>> matrices;
            std::vector<std::unique_ptr<Buffer>> outs;
            std::vector<MatmulTask> tasks;
            for (std::size_t i = 0; i < 4; ++i) {
                const auto values = randomValues(rows[i] * kColumns, 20 + i, 1.0F);
                matrices.push_back(
                    b.loadMatrix(tensorOf("w", {rows[i], kColumns}, dtypes[i], values),
                                 Precision::Source, {})
                        .value());
                outs.push_back(bufferOf(b, randomValues(rows[i], 30 + i, 1.0F)));
                tasks.push_back({matrices.back().get(), outs.back().get(), i % 2 == 1});
            }
            b.matmul(tasks, *in, 1);
            for (std::size_t i = 0; i < 4; ++i)
                for (const float value : readAll(b, *outs[i], rows[i]))
                    results[side].push_back(value);
        }
        QVERIFY2(largestDifference(results[0], results[1]) <= kUnit * kColumns * kColumns,
                 target.name.c_str());
    }
}

void TestOpenClBackend::matrixLargerThanAnAllocation() {
    constexpr std::int64_t kRows = 70;
    constexpr std::int64_t kColumns = 24;
    const auto values = randomValues(kRows * kColumns, 3, 1.0F);
    const auto weights = tensorOf("w", {kRows, kColumns}, DType::F16, values);
    const std::int32_t tokens[] = {0, 69, 12, 13, 40, 13};
    for (const Target& target : m_targets) {
        const auto backend = open(target, 13 * kColumns * 2);  // six pieces
        QVERIFY(backend);
        auto matrix = backend->loadMatrix(weights, Precision::Source, {});
        QVERIFY2(matrix.ok(), matrix.ok() ? "" : matrix.error().text().c_str());
        QCOMPARE(matrix.value()->sizeBytes(), kRows * kColumns * 2);
        const auto whole = open(target);
        for (const std::int64_t n : {1, 5}) {
            const auto x = randomValues(n * kColumns, 4, 1.0F);
            const auto before = randomValues(n * kRows, 5, 1.0F);
            const auto reference = createReferenceBackend();
            const auto small =
                open(target, std::max<std::int64_t>(13 * kColumns * 2, n * kRows * 4));
            QVERIFY(largestDifference(multiply(*small, weights, x, before, n),
                                      multiply(*reference, weights, x, before, n)) <=
                    kUnit * kColumns * kColumns);
        }
        auto spread = open(target, 6 * kColumns * 4);
        auto table = spread->loadMatrix(weights, Precision::Source, {});
        QVERIFY(table.ok());
        const auto x = bufferOf(*spread, std::vector<float>(6 * kColumns));
        spread->embed(*table.value(), tokens, *x);
        const auto rows = readAll(*spread, *x, 6 * kColumns);
        QCOMPARE(rows.size(), std::size_t{6 * kColumns});
        for (std::size_t i = 0; i < rows.size(); ++i)
            QCOMPARE(rows[i], halfToFloat(floatToHalf(
                                  values[static_cast<std::size_t>(tokens[i / kColumns]) * kColumns +
                                         i % kColumns])));
    }
}

void TestOpenClBackend::attentionAgreesWithPlainLoop_data() {
    QTest::addColumn<int>("target");
    QTest::addColumn<int>("heads");
    QTest::addColumn<int>("kvHeads");
    QTest::addColumn<int>("headDim");
    QTest::addColumn<int>("past");
    QTest::addColumn<int>("rows");
    QTest::addColumn<bool>("half");
    const int shapes[][5] = {{4, 4, 8, 0, 1},    {4, 2, 6, 0, 2},     {8, 1, 32, 63, 3},
                             {6, 2, 10, 65, 31}, {2, 1, 16, 1030, 1}, {2, 1, 64, 300, 130}};
    forEachTarget([&](int target, const char* name) {
        for (const auto& s : shapes)
            for (const bool half : {false, true})
                QTest::addRow("%s heads=%d/%d dim=%d past=%d rows=%d %s", name, s[0], s[1], s[2],
                              s[3], s[4], half ? "f16" : "f32")
                    << target << s[0] << s[1] << s[2] << s[3] << s[4] << half;
    });
}

void TestOpenClBackend::attentionAgreesWithPlainLoop() {
    QFETCH(int, target);
    QFETCH(int, heads);
    QFETCH(int, kvHeads);
    QFETCH(int, headDim);
    QFETCH(int, past);
    QFETCH(int, rows);
    QFETCH(bool, half);
    const AttentionCase test{
        {heads, kvHeads, headDim}, past, rows, half ? KvPrecision::F16 : KvPrecision::F32};
    const auto backend = open(m_targets[static_cast<std::size_t>(target)]);
    QVERIFY(backend);
    const auto reference = createReferenceBackend();
    const auto expected = attendInSteps(*reference, test, rows);
    // An output is a mean of values below 4 whose weights carry the error of a score (a dot product
    // of headDim terms) through exp. A rotated key may also round to the neighbouring half: one part
    // in 2^11 of a score below about 16.
    const float scores = kUnit * static_cast<float>(headDim * headDim + past + rows) * 8.0F;
    const float bound = (half ? 4.0F / 2048.0F : 0.0F) + scores + 64.0F * kUnit;
    for (const std::int64_t step : {rows, 7, 1}) {
        if (step > rows || (step == 1 && rows > 31)) continue;
        const float difference = largestDifference(attendInSteps(*backend, test, step), expected);
        QVERIFY2(difference <= bound, qPrintable(QString("%1 > %2").arg(difference).arg(bound)));
    }
}

void TestOpenClBackend::elementwiseStepsAgree() {
    constexpr std::int64_t kWidth = 77;
    constexpr std::int64_t kRows = 3;
    const auto reference = createReferenceBackend();
    for (const Target& target : m_targets) {
        const auto backend = open(target);
        const auto values = randomValues(kWidth * kRows, 5, 3.0F);
        const auto others = randomValues(kWidth * kRows, 6, 1.0F);
        std::vector<float> results[2];
        Backend* const both[] = {backend.get(), reference.get()};
        for (int i = 0; i < 2; ++i) {
            Backend& b = *both[i];
            const auto x = bufferOf(b, values);
            const auto gain = bufferOf(b, others);
            const auto out = bufferOf(b, std::vector<float>(kWidth * 2));
            b.rmsNorm(*x, 1, *gain, 1e-5F, kWidth, 2, *out);
            results[i] = readAll(b, *out, kWidth * 2);
            b.swiglu(*x, *gain, kWidth, kRows);
            for (const float value : readAll(b, *x, kWidth * kRows))
                results[i].push_back(value);
        }
        // Values below 30: a few roundings each, and OpenCL's exp is within 4 units.
        QVERIFY2(largestDifference(results[0], results[1]) <= 30.0F * 16.0F * kUnit,
                 target.name.c_str());
    }
}

void TestOpenClBackend::siluOfExtremesStaysFinite() {
    for (const Target& target : m_targets) {
        const auto backend = open(target);
        const std::vector<float> extremes{-1e30F, -500.0F, -104.0F, 0.0F, 90.0F, 500.0F};
        const auto gate = bufferOf(*backend, extremes);
        const auto up = bufferOf(*backend, std::vector<float>(extremes.size(), 1.0F));
        const auto count = static_cast<std::int64_t>(extremes.size());
        backend->swiglu(*gate, *up, count, 1);
        const auto out = readAll(*backend, *gate, count);
        QVERIFY(std::isfinite(out[0]) && std::isfinite(out[1]) && std::abs(out[2]) < 1e-6F);
        QCOMPARE(out[3], 0.0F);
        QCOMPARE(out[4], 90.0F);
        QCOMPARE(out[5], 500.0F);
    }
}

void TestOpenClBackend::precisionConversionRoundsOnce() {
    const auto values = randomValues(7 * 19, 31, 1.0F);
    const auto weights = tensorOf("w", {7, 19}, DType::F32, values);
    for (const Target& target : m_targets) {
        const auto backend = open(target);
        auto matrix = backend->loadMatrix(weights, Precision::F16, {});
        QVERIFY(matrix.ok());
        QCOMPARE(matrix.value()->sizeBytes(), 7 * 19 * 2);
        const auto x = bufferOf(*backend, std::vector<float>(3 * 19));
        const std::int32_t tokens[] = {6, 0, 3};
        backend->embed(*matrix.value(), tokens, *x);
        const auto rows = readAll(*backend, *x, 3 * 19);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto row = static_cast<std::size_t>(tokens[i / 19]);
            QCOMPARE(rows[i], halfToFloat(floatToHalf(values[row * 19 + i % 19])));
        }
        for (const Precision precision : {Precision::Q8, Precision::Q4}) {
            const auto reference = createReferenceBackend();
            std::vector<float> results[2];
            Backend* const both[] = {backend.get(), reference.get()};
            for (int side = 0; side < 2; ++side) {
                auto table = both[side]->loadMatrix(weights, precision, {});
                QVERIFY(table.ok());
                const auto embedded = bufferOf(*both[side], std::vector<float>(3 * 19));
                both[side]->embed(*table.value(), tokens, *embedded);
                results[side] = readAll(*both[side], *embedded, 3 * 19);
            }
            QVERIFY(largestDifference(results[0], results[1]) <= 16.0F * kUnit);
        }
    }
}

void TestOpenClBackend::stopIsPolledWhileLoading() {
    std::stop_source stop;
    stop.request_stop();
    const auto weights = tensorOf("w", {4, 8}, DType::F16, randomValues(32, 1, 1.0F));
    const auto backend = open(m_targets.front());
    const auto matrix = backend->loadMatrix(weights, Precision::F32, stop.get_token());
    QVERIFY(!matrix.ok());
    QCOMPARE(matrix.error().code, ErrorCode::Cancelled);
}

void TestOpenClBackend::unknownDeviceIsRefusedWithTheList() {
    for (const char* id : {"opencl:77", "opencl:", "opencl:x"}) {
        const auto backend = createBackend(id, {});
        QVERIFY(!backend.ok());
        QCOMPARE(backend.error().code, ErrorCode::Device);
        QVERIFY(backend.error().message.find(m_targets.front().device) != std::string::npos);
    }
}

namespace {

// One layer's worth of everything; the first failure, if there is one.
Result<void> smallForward(Backend& backend) {
    constexpr std::int64_t kDim = 16;
    const AttentionShape shape{2, 1, 8};
    const auto weights = tensorOf("w", {kDim, kDim}, DType::F32, randomValues(256, 1, 1.0F));
    QLLAMA_TRY(auto matrix, backend.loadMatrix(weights, Precision::F16, {}));
    QLLAMA_TRY(auto gain,
               backend.loadVector(tensorOf("g", {kDim}, DType::F32, randomValues(16, 2, 1.0F))));
    QLLAMA_TRY(auto x, backend.createBuffer(2 * kDim));
    QLLAMA_TRY(auto h, backend.createBuffer(2 * kDim));
    QLLAMA_TRY(auto k, backend.createBuffer(2 * kDim));
    QLLAMA_TRY(auto rotations, backend.createBuffer(8 * 600));
    QLLAMA_TRY(auto cache, backend.createKvCache({1, 1, 8, 600, KvPrecision::F16}));
    const std::int32_t tokens[] = {3, 7};
    backend.embed(*matrix, tokens, *x);
    backend.rmsNorm(*x, 0, *gain, 1e-5F, kDim, 2, *h);
    const MatmulTask tasks[] = {{matrix.get(), k.get()}};
    backend.matmul(tasks, *h, 2);
    backend.ropeAndStore(*h, *k, *x, *rotations, shape, *cache, 0, 590, 2);
    backend.attention(*h, shape, *cache, 0, 590, 2, *x);
    backend.attention(*h, shape, *cache, 0, 590, 1, *x);
    backend.swiglu(*h, *x, kDim, 2);
    backend.matmul(tasks, *h, 1);
    std::vector<float> out(kDim);
    QLLAMA_CHECK(backend.read(*x, 0, out));
    return backend.finish();
}

}  // namespace

void TestOpenClBackend::everyFailureIsASentence() {
    for (const Target& target : m_targets) {
        for (const FaultPoint point : {FaultPoint::Allocation, FaultPoint::Enqueue}) {
            int failures = 0;
            for (int failAt = 0;; ++failAt) {
                const auto backend = open(target);
                QVERIFY(backend);
                int seen = 0;
                Result<void> result;
                {
                    const FaultGuard guard([&](FaultPoint at, const std::string&, std::int64_t) {
                        if (at != point) return 0;
                        if (seen++ != failAt) return 0;
                        return point == FaultPoint::Allocation ? kOutOfMemory : kOutOfResources;
                    });
                    result = smallForward(*backend);
                }
                if (seen <= failAt) {
                    QVERIFY2(result.ok(), result.ok() ? "" : result.error().text().c_str());
                    break;
                }
                ++failures;
                QVERIFY2(!result.ok(), qPrintable(QString("fault %1 went unnoticed").arg(failAt)));
                QCOMPARE(result.error().code, point == FaultPoint::Allocation
                                                  ? ErrorCode::OutOfMemory
                                                  : ErrorCode::Device);
                QVERIFY(result.error().message.find(target.device) != std::string::npos);
                QVERIFY(result.error().message.ends_with('.'));
                // The failure was given out; the backend works again.
                const Result<void> again = smallForward(*backend);
                QVERIFY2(again.ok(), again.ok() ? "" : again.error().text().c_str());
            }
            QVERIFY(failures > 6);
        }
    }
}

void TestOpenClBackend::damagedCacheIsCompiledAgain() {
    const QTemporaryDir cache;
    const QByteArray usual = qgetenv("XDG_CACHE_HOME");
    qputenv("XDG_CACHE_HOME", cache.path().toUtf8());
    const auto restore = qScopeGuard([&] { qputenv("XDG_CACHE_HOME", usual); });
    const Target& target = m_targets.front();
    const std::filesystem::path folder = opencl::cacheFolder();
    QVERIFY(folder.string().starts_with(cache.path().toStdString()));
    QVERIFY(open(target));
    const auto file = onlyFileIn(folder, "swiglu-");
    QVERIFY(!file.empty());
    const QByteArray good = contentOf(file);
    QVERIFY(good.size() > 1000);
    QByteArray changed = good;
    changed.replace(changed.size() - 10, 6, "damage");
    for (const QByteArray& damaged : {good.left(good.size() / 2), QByteArray(), changed}) {
        std::ofstream(file, std::ios::binary | std::ios::trunc)
            .write(damaged.data(), damaged.size());
        const auto backend = open(target);
        QVERIFY(backend);
        const auto gate = bufferOf(*backend, {0.0F, 90.0F});
        const auto up = bufferOf(*backend, {1.0F, 2.0F});
        backend->swiglu(*gate, *up, 2, 1);
        QCOMPARE(readAll(*backend, *gate, 2), (std::vector<float>{0.0F, 180.0F}));
        QVERIFY(contentOf(file) != damaged);
    }
    std::filesystem::remove(file);
    std::filesystem::create_directory(file);
    QVERIFY(open(target));  // cannot be written: no failure
}

void TestOpenClBackend::profileCountsLaunches() {
    const Target& target = m_targets.front();
    auto backend =
        opencl::createOpenClBackend(target.device, {.form = target.form, .profile = true});
    QVERIFY(backend.ok());
    const auto gate = bufferOf(*backend.value(), std::vector<float>(100, 1.0F));
    const auto up = bufferOf(*backend.value(), std::vector<float>(100, 1.0F));
    (void)backend.value()->takeProfile();
    for (int i = 0; i < 3; ++i)
        backend.value()->swiglu(*gate, *up, 100, 1);
    const auto profile = backend.value()->takeProfile();
    QCOMPARE(profile.size(), std::size_t{1});
    QCOMPARE(profile.front().name, std::string("swiglu"));
    QCOMPARE(profile.front().calls, 3);
    QCOMPARE(profile.front().bytes, 3 * 1200);
    QVERIFY(profile.front().ms > 0);
    QVERIFY(backend.value()->takeProfile().empty());
}

QTEST_GUILESS_MAIN(TestOpenClBackend)
#include "test_opencl_backend.moc"
