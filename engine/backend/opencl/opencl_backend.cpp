#include "engine/backend/opencl/opencl_backend.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/backend/opencl/attention_kernels.h"
#include "engine/backend/opencl/elementwise_kernels.h"
#include "engine/backend/opencl/matrix_kernels.h"
#include "engine/backend/opencl/opencl_speed_probe.h"
#include "engine/backend/opencl/tuning.h"

namespace qllama::opencl {
namespace {

constexpr std::string_view kPrefix = "opencl:";

// The CPU form wants real vectors and local memory that is nothing but cache; a processor whose
// driver spreads work items over the lanes by itself (llvmpipe) is better off with the other form.
constexpr cl_uint kVectorsFrom = 4;
constexpr cl_ulong kRoomyLocalMemory = 256 << 10;

// The other form divides tiles of 16 rows among teams of at least 32 items.
constexpr std::size_t kSmallestWorkGroup = 32;

KernelForm formFor(const cl::Device& device, FormChoice choice) {
    if (device.getInfo<CL_DEVICE_MAX_WORK_GROUP_SIZE>() < kSmallestWorkGroup)
        return KernelForm::Cpu;
    if (choice != FormChoice::Automatic)
        return choice == FormChoice::Cpu ? KernelForm::Cpu : KernelForm::Gpu;
    const bool cpu = (device.getInfo<CL_DEVICE_TYPE>() & CL_DEVICE_TYPE_CPU) != 0 &&
                     device.getInfo<CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT>() >= kVectorsFrom &&
                     device.getInfo<CL_DEVICE_LOCAL_MEM_SIZE>() >= kRoomyLocalMemory;
    return cpu ? KernelForm::Cpu : KernelForm::Gpu;
}

// Of the matrices that `kernels` are for, those of the largest shape.
std::vector<const ClMatrix*> largestOf(std::span<const Matrix* const> matrices,
                                       const WeightKernels& kernels) {
    std::vector<const ClMatrix*> largest;
    for (const Matrix* entry : matrices) {
        const auto* matrix = static_cast<const ClMatrix*>(entry);
        if (&matrix->kernels() != &kernels) continue;
        if (!largest.empty() && matrix->sizeBytes() > largest.front()->sizeBytes()) largest.clear();
        if (largest.empty() || (matrix->rows() == largest.front()->rows() &&
                                matrix->columns() == largest.front()->columns()))
            largest.push_back(matrix);
    }
    return largest;
}

class OpenClBackend final : public Backend {
public:
    // Throws cl::Error.
    OpenClBackend(const FoundDevice& device, const OpenClOptions& options)
        : m_options(options),
          m_queue(device, {.form = formFor(device.device, options.form),
                           .profile = options.profile,
                           .kernelOptions = options.kernelOptions,
                           .vectorLanes = options.vectorLanes,
                           .hostMemory = options.hostMemory,
                           .compiling = options.compiling}) {}

    Result<void> compile() {
        QLLAMA_TRY(m_elementwise, ElementwiseKernels::compile(m_queue));
        return {};
    }

    [[nodiscard]] const DeviceInfo& device() const override { return m_queue.info(); }

    Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                               std::stop_token stop) override {
        QLLAMA_TRY(const WeightFormat* const format, weightFormatFor(tensor, precision));
        QLLAMA_TRY(WeightKernels* const kernels, kernelsFor(*format));
        if (format->quant) m_rounding->expect(tensor.shape.back());
        if (!m_pool) {
            QLLAMA_TRY(auto pool, ThreadPool::start(0));
            m_pool.emplace(std::move(pool));
        }
        return opencl::loadMatrix(m_queue, *kernels, tensor,
                                  {*m_pool, m_options.store.get(), std::move(stop)});
    }

    Result<std::unique_ptr<Buffer>> loadVector(const CatalogTensor& tensor) override {
        std::vector<float> values(static_cast<std::size_t>(tensor.elementCount()));
        tensor.readRow(0, values);
        QLLAMA_TRY(auto buffer, createBuffer(tensor.elementCount()));
        QLLAMA_CHECK(write(*buffer, 0, values));
        return buffer;
    }

    Result<std::unique_ptr<Buffer>> createBuffer(std::int64_t floatCount) override {
        QLLAMA_TRY(auto memory, m_queue.allocate(std::max<std::int64_t>(1, floatCount) * 4, true,
                                                 "working buffers"));
        return std::unique_ptr<Buffer>(std::make_unique<ClBuffer>(std::move(memory)));
    }

    Result<std::unique_ptr<KvCache>> createKvCache(const KvShape& shape) override {
        if (!m_attention || !m_attention->suits(shape)) {
            QLLAMA_TRY(m_attention,
                       AttentionKernels::compile(m_queue, shape.headDim, shape.precision));
        }
        if (shape.headCount > 0) QLLAMA_CHECK(m_attention->prepare(m_queue, shape));
        std::vector<cl::Buffer> layers(static_cast<std::size_t>(shape.layerCount));
        for (cl::Buffer& layer : layers) {
            QLLAMA_TRY(layer, m_queue.allocate(ClKvCache::layerBytes(shape), true, "the KV cache"));
        }
        return std::unique_ptr<KvCache>(std::make_unique<ClKvCache>(shape, std::move(layers)));
    }

    void embed(const Matrix& table, std::span<const std::int32_t> tokens, Buffer& x) override {
        const auto n = static_cast<std::int64_t>(tokens.size());
        if (!reserveTokens(n)) return;
        m_queue.write(m_tokens, 0, tokens.data(), n * 4);
        opencl::embed(m_queue, static_cast<const ClMatrix&>(table), m_tokens, n, memoryOf(x));
    }

    void rmsNorm(const Buffer& x, std::int64_t firstRow, const Buffer& gain, float epsilon,
                 std::int64_t width, std::int64_t n, Buffer& out) override {
        m_elementwise.rmsNorm(
            m_queue, {memoryOf(x), firstRow, memoryOf(gain), epsilon, width, n, memoryOf(out)});
    }

    void matmul(std::span<const MatmulTask> tasks, const Buffer& x, std::int64_t n) override {
        multiply(m_queue, m_rounding.get(), tasks, memoryOf(x), n);
    }

    void ropeAndStore(Buffer& q, Buffer& k, const Buffer& v, const Buffer& rotations,
                      const AttentionShape& shape, KvCache& cache, std::int64_t layer,
                      std::int64_t first, std::int64_t n) override {
        m_attention->ropeAndStore(
            m_queue, {memoryOf(q), memoryOf(k), memoryOf(v), memoryOf(rotations), shape,
                      static_cast<const ClKvCache&>(cache), layer, first, n});
    }

    void attention(const Buffer& q, const AttentionShape& shape, const KvCache& cache,
                   std::int64_t layer, std::int64_t first, std::int64_t n, Buffer& out) override {
        m_attention->attention(m_queue, {memoryOf(q), shape, static_cast<const ClKvCache&>(cache),
                                         layer, first, n, memoryOf(out)});
        // Once a layer: long prefills shall stop soon, and short ones gain nothing by a queue that
        // is longer still.
        if (n > 1) m_queue.endGroup();
    }

    void swiglu(Buffer& gate, const Buffer& up, std::int64_t width, std::int64_t n) override {
        m_elementwise.swiglu(m_queue, memoryOf(gate), memoryOf(up), width * n);
    }

    Result<void> read(const Buffer& buffer, std::int64_t first, std::span<float> out) override {
        m_queue.read(memoryOf(buffer), first * 4, out.data(),
                     static_cast<std::int64_t>(out.size_bytes()));
        return m_queue.takeFailure();
    }

    Result<void> write(Buffer& buffer, std::int64_t first, std::span<const float> in) override {
        m_queue.write(memoryOf(buffer), first * 4, in.data(),
                      static_cast<std::int64_t>(in.size_bytes()));
        return m_queue.takeFailure();
    }

    Result<void> finish() override {
        m_queue.finish();
        return m_queue.takeFailure();
    }

    Result<std::unique_ptr<SpeedProbe>> createSpeedProbe(const std::stop_token& stop) override {
        QLLAMA_TRY(auto probe, OpenClSpeedProbe::create(m_queue, m_options.probeBytes, stop));
        return std::unique_ptr<SpeedProbe>(std::move(probe));
    }

    std::vector<KernelTiming> takeProfile() override { return m_queue.takeProfile(); }

    Result<void> tune(std::span<const Matrix* const> matrices, std::stop_token stop) override {
        m_tuning.clear();
        if (m_options.plan) return {};
        for (const auto& kernels : m_weightKernels) {
            const auto alike = largestOf(matrices, *kernels);
            if (alike.empty() ||
                alike.front()->rows() * alike.front()->columns() < m_options.tunedWeights)
                continue;
            QLLAMA_TRY(std::string outcome,
                       opencl::tune(m_queue, m_rounding.get(), *kernels, alike, stop));
            m_tuning.push_back(std::move(outcome));
        }
        return {};
    }

    [[nodiscard]] std::vector<std::string> tuning() const override { return m_tuning; }

private:
    Result<WeightKernels*> kernelsFor(const WeightFormat& format) {
        for (const auto& kernels : m_weightKernels)
            if (kernels->format == &format) return kernels.get();
        if (format.quant && !m_rounding) {
            QLLAMA_TRY(m_rounding, ActivationRounding::compile(m_queue));
        }
        QLLAMA_TRY(auto kernels, compileWeightKernels(m_queue, format));
        if (m_options.plan) {
            const auto matvec = matvecPlans(kernels->limits);
            const auto matmul = matmulPlans(kernels->limits);
            QLLAMA_CHECK(usePlan(m_queue, matvec[*m_options.plan % matvec.size()], *kernels));
            QLLAMA_CHECK(usePlan(m_queue, matmul[*m_options.plan % matmul.size()], *kernels));
        }
        m_weightKernels.push_back(std::move(kernels));
        return m_weightKernels.back().get();
    }

    bool reserveTokens(std::int64_t count) {
        if (count <= m_tokenCapacity) return true;
        auto buffer = m_queue.allocate(count * 4, false, "the tokens");
        if (!buffer.ok()) {
            m_queue.fail(buffer.error());
            return false;
        }
        m_tokens = std::move(buffer).value();
        m_tokenCapacity = count;
        return true;
    }

    OpenClOptions m_options;
    DeviceQueue m_queue;
    std::vector<std::string> m_tuning;
    std::optional<ThreadPool> m_pool;  // once weights are loaded
    ElementwiseKernels m_elementwise;
    std::unique_ptr<ActivationRounding> m_rounding;               // once a format wants it
    std::vector<std::unique_ptr<WeightKernels>> m_weightKernels;  // one a format in use
    std::unique_ptr<AttentionKernels> m_attention;                // of the last cache created
    cl::Buffer m_tokens;
    std::int64_t m_tokenCapacity = 0;
};

Error unknownDevice(const std::string& deviceId, const Discovery& found) {
    std::string known;
    for (const FoundDevice& device : found.devices)
        known += (known.empty() ? "" : ", ") + device.info.id + " (" + device.info.name + ")";
    std::string message = "There is no device '" + deviceId + "'. ";
    message += known.empty() ? "OpenCL offers none here." : "OpenCL offers: " + known + ".";
    for (const std::string& note : found.notes)
        message += " " + note;
    return {ErrorCode::Device, message, {}};
}

}  // namespace

bool ownsDevice(const std::string& deviceId) {
    return deviceId.starts_with(kPrefix);
}

std::int64_t roundingBytes(std::int64_t positions, std::int64_t columns) {
    return positions * ActivationRounding::blocksOf(columns) * ActivationRounding::kBlockBytes;
}

std::int64_t kvCacheBytes(const KvShape& shape) {
    return shape.layerCount * ClKvCache::layerBytes(shape);
}

void listDevices(DeviceList& list) {
    Discovery found = discover();
    for (FoundDevice& device : found.devices)
        list.devices.push_back(std::move(device.info));
    for (std::string& note : found.notes)
        list.notes.push_back(std::move(note));
}

Result<std::unique_ptr<Backend>> createOpenClBackend(const std::string& deviceId,
                                                     const OpenClOptions& options) {
    Discovery found = discover();
    const auto device =
        std::find_if(found.devices.begin(), found.devices.end(),
                     [&](const FoundDevice& entry) { return entry.info.id == deviceId; });
    if (device == found.devices.end()) return unknownDevice(deviceId, found);
    if (options.largestAllocation > 0) device->info.maxAllocationBytes = options.largestAllocation;
    try {
        auto backend = std::make_unique<OpenClBackend>(*device, options);
        QLLAMA_CHECK(backend->compile());
        return std::unique_ptr<Backend>(std::move(backend));
    } catch (const cl::Error& problem) {
        return errorOf(problem.err(), "being opened", deviceId + " (" + device->info.name + ")",
                       false);
    }
}

}  // namespace qllama::opencl
