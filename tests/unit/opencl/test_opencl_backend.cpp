// What happens when an OpenCL device refuses, a kept kernel is damaged or loading is stopped; and what
// the profile counts.
#include <QTemporaryDir>
#include <QtTest>
#include <fstream>

#include "engine/backend/opencl/cache_file.h"
#include "engine/backend/opencl/discovery.h"
#include "engine/backend/opencl/fault_injection.h"
#include "tests/support/backends.h"
#include "tests/unit/opencl/targets.h"

using namespace qllama;
using namespace qllama::test;
using opencl::FaultPoint;

namespace {

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
    void stopIsPolledWhileLoading();
    void unknownDeviceIsRefusedWithTheList();
    void packingLeavesWeightsAsInTheFile();
    void versionIsUnderstood();
    void everyFailureIsASentence();
    void damagedCacheIsCompiledAgain();
    void profileCountsLaunches();

private:
    std::vector<Target> m_targets;
};

void TestOpenClBackend::initTestCase() {
    m_targets = findTargets();
    QVERIFY(!m_targets.empty());
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

// Only the processor's kernels unpack.
void TestOpenClBackend::packingLeavesWeightsAsInTheFile() {
    const auto weights = tensorOf("w", {40, 64}, DType::BF16, randomValues(40 * 64, 1, 1.0F));
    for (const Target& target : m_targets) {
        const auto backend = open(target);
        const auto x = bufferOf(*backend, randomValues(64, 2, 1.0F));
        std::vector<std::vector<float>> products;
        for (const Precision precision : {Precision::Source, Precision::Packed}) {
            const auto matrix = backend->loadMatrix(weights, precision, {});
            QVERIFY(matrix.ok());
            QCOMPARE(matrix.value()->sizeBytes(), 40 * 64 * 2);
            const auto out = std::move(backend->createBuffer(40)).value();
            const MatmulTask task[] = {{matrix.value().get(), out.get()}};
            backend->matmul(task, *x, 1);
            QVERIFY(backend->read(*out, 0, products.emplace_back(40)).ok());
        }
        QCOMPARE(products[1], products[0]);
    }
}

void TestOpenClBackend::versionIsUnderstood() {
    for (const char* recent :
         {"OpenCL 1.2 ", "OpenCL 2.0 AMD-APP (1800.8)", "OpenCL 3.0 CUDA", "OpenCL 10.0 x"})
        QVERIFY(opencl::isRecentEnough(recent));
    for (const char* old : {"OpenCL 1.1 Mesa 10.2", "OpenCL 1.0 ", "", "1.2", "OpenCL"})
        QVERIFY(!opencl::isRecentEnough(old));
    QVERIFY(opencl::isRemote("OpenCL 3.0 CUDA HSTR: pocl-remote: NVIDIA GeForce RTX 3090"));
    QVERIFY(!opencl::isRemote("OpenCL 3.0 PoCL HSTR: pthread-x86_64-pc-linux-gnu-znver3"));
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
                // The first command copies the weights, to memory that some drivers hand out only then.
                const bool ofMemory = point == FaultPoint::Allocation || failAt == 0;
                QCOMPARE(result.error().code,
                         ofMemory ? ErrorCode::OutOfMemory : ErrorCode::Device);
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
