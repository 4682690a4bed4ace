#include "engine/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/backend/cpu/cpu_attention.h"
#include "engine/backend/cpu/cpu_matrix.h"
#include "engine/backend/cpu/cpu_memory.h"
#include "engine/backend/cpu/kernels/elementwise_kernels.h"
#include "engine/backend/cpu/weight_loading.h"
#include "engine/common/thread_pool.h"

namespace qllama::cpu {
namespace {

const CpuMatrix& matrixOf(const MatmulTask& task) {
    return static_cast<const CpuMatrix&>(*task.weight);
}

// Rows that a thread takes at a time: small enough to even out a busy core, large enough that
// taking them costs nothing.
std::int64_t rowsPerPortion(std::int64_t totalRows, int threads, std::int64_t granularity) {
    const std::int64_t portions = std::int64_t{threads} * 8;
    const std::int64_t rows = (totalRows + portions - 1) / portions;
    return (rows + granularity - 1) / granularity * granularity;
}

std::int64_t portionCount(const Matrix& matrix, std::int64_t portion) {
    return (matrix.rows() + portion - 1) / portion;
}

class CpuBackend final : public Backend {
public:
    CpuBackend(int threadCount, std::shared_ptr<QuantizedStore> quantized)
        : m_device(describeCpu()),
          m_quantizedStore(std::move(quantized)),
          m_pool(threadCount > 0 ? threadCount : physicalCoreCount()) {}

    [[nodiscard]] const DeviceInfo& device() const override { return m_device; }

    Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                               std::stop_token stop) override {
        return cpu::loadMatrix(tensor, precision, m_pool, m_quantizedStore.get(), stop);
    }

    Result<std::unique_ptr<Buffer>> loadVector(const CatalogTensor& tensor) override {
        QLLAMA_TRY(auto buffer, createBuffer(tensor.elementCount()));
        tensor.readRow(0, {dataOf(*buffer), static_cast<std::size_t>(tensor.elementCount())});
        return buffer;
    }

    Result<std::unique_ptr<Buffer>> createBuffer(std::int64_t floatCount) override {
        QLLAMA_TRY(auto memory, HostMemory::allocate(floatCount * std::int64_t{sizeof(float)},
                                                     false, "working buffers"));
        return std::unique_ptr<Buffer>(std::make_unique<CpuBuffer>(std::move(memory), floatCount));
    }

    Result<std::unique_ptr<KvCache>> createKvCache(const KvShape& shape) override {
        const std::int64_t bytes =
            CpuKvCache::bytesPerHead(shape) * shape.kvHeadCount * shape.layerCount;
        QLLAMA_TRY(auto memory, HostMemory::allocate(bytes, false, "the KV cache"));
        return std::unique_ptr<KvCache>(std::make_unique<CpuKvCache>(shape, std::move(memory)));
    }

    void embed(const Matrix& table, std::span<const std::int32_t> tokens, Buffer& x) override {
        const auto& matrix = static_cast<const CpuMatrix&>(table);
        for (std::size_t i = 0; i < tokens.size(); ++i)
            matrix.readRow(tokens[i], dataOf(x) + static_cast<std::int64_t>(i) * matrix.columns());
    }

    void rmsNorm(const Buffer& x, std::int64_t firstRow, const Buffer& gain, float epsilon,
                 std::int64_t width, std::int64_t n, Buffer& out) override {
        forEachRow(n, [&](std::int64_t i) {
            rmsNormRow(dataOf(x) + (firstRow + i) * width, dataOf(gain), epsilon, width,
                       dataOf(out) + i * width);
        });
    }

    void matmul(std::span<const MatmulTask> tasks, const Buffer& x, std::int64_t n) override {
        std::int64_t totalRows = 0;
        std::int64_t granularity = 1;
        for (const MatmulTask& task : tasks) {
            totalRows += task.weight->rows();
            granularity = std::max(granularity, matrixOf(task).rowGranularity());
        }
        const Activations activations = prepare(tasks, dataOf(x), n);
        const std::int64_t portion = rowsPerPortion(totalRows, m_pool.threadCount(), granularity);
        std::int64_t portions = 0;
        for (const MatmulTask& task : tasks)
            portions += portionCount(*task.weight, portion);
        std::atomic<std::int64_t> next{0};
        m_pool.run([&](int) {
            for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < portions;)
                multiplyPortion(tasks, activations, portion, i);
        });
    }

    void ropeAndStore(Buffer& q, Buffer& k, const Buffer& v, const Buffer& rotations,
                      const AttentionShape& shape, KvCache& cache, std::int64_t layer,
                      std::int64_t first, std::int64_t n) override {
        auto& kvCache = static_cast<CpuKvCache&>(cache);
        const std::int64_t kvWidth = shape.kvHeadCount * shape.headDim;
        forEachRow(n, [&](std::int64_t i) {
            const float* rotation = dataOf(rotations) + (first + i) * shape.headDim;
            ropeRow(dataOf(q) + i * shape.headCount * shape.headDim, rotation, shape.headCount,
                    shape.headDim);
            ropeRow(dataOf(k) + i * kvWidth, rotation, shape.kvHeadCount, shape.headDim);
            for (std::int64_t head = 0; head < shape.kvHeadCount; ++head)
                kvCache.store(layer, head, first + i,
                              dataOf(k) + i * kvWidth + head * shape.headDim,
                              dataOf(v) + i * kvWidth + head * shape.headDim);
        });
    }

    void attention(const Buffer& q, const AttentionShape& shape, const KvCache& cache,
                   std::int64_t layer, std::int64_t first, std::int64_t n, Buffer& out) override {
        attend({.queries = dataOf(q),
                .shape = shape,
                .cache = &static_cast<const CpuKvCache&>(cache),
                .layer = layer,
                .first = first,
                .rows = n,
                .out = dataOf(out)},
               m_pool, m_attentionScratch);
    }

    void swiglu(Buffer& gate, const Buffer& up, std::int64_t width, std::int64_t n) override {
        forEachRow(n, [&](std::int64_t i) {
            swigluRow(dataOf(gate) + i * width, dataOf(up) + i * width, width);
        });
    }

    Result<void> read(const Buffer& buffer, std::int64_t first, std::span<float> out) override {
        std::memcpy(out.data(), dataOf(buffer) + first, out.size_bytes());
        return {};
    }

    Result<void> write(Buffer& buffer, std::int64_t first, std::span<const float> in) override {
        std::memcpy(dataOf(buffer) + first, in.data(), in.size_bytes());
        return {};
    }

    Result<void> finish() override { return {}; }

private:
    // One row is done faster than the others could be woken.
    template <typename Row>
    void forEachRow(std::int64_t n, const Row& row) {
        if (n == 1) {
            row(0);
            return;
        }
        const std::int64_t threads = m_pool.threadCount();
        m_pool.run([&](int worker) {
            for (std::int64_t i = n * worker / threads; i < n * (worker + 1) / threads; ++i)
                row(i);
        });
    }

    // The forms of x that the matrices of the tasks want, each made once for all of them.
    Activations prepare(std::span<const MatmulTask> tasks, const float* x, std::int64_t n) {
        const std::int64_t columns = tasks.front().weight->columns();
        Activations activations{.values = x, .n = n, .quantized = nullptr};
        const bool quantized = std::any_of(tasks.begin(), tasks.end(), [](const MatmulTask& task) {
            return matrixOf(task).activationForm() == ActivationForm::Quantized;
        });
        if (quantized) {
            resizeActivations(m_quantized, n, columns);
            forEachRow(
                n, [&](std::int64_t i) { quantizeRow(x + i * columns, columns, i, m_quantized); });
            activations.quantized = &m_quantized;
        }
        return activations;
    }

    void multiplyPortion(std::span<const MatmulTask> tasks, const Activations& x,
                         std::int64_t portion, std::int64_t index) {
        std::size_t task = 0;
        for (std::int64_t count; index >= (count = portionCount(*tasks[task].weight, portion));
             ++task)
            index -= count;
        const CpuMatrix& matrix = matrixOf(tasks[task]);
        const std::int64_t begin = index * portion;
        matrix.multiply(begin, std::min(matrix.rows(), begin + portion), x,
                        dataOf(*tasks[task].out), tasks[task].accumulate);
    }

    DeviceInfo m_device;
    std::shared_ptr<QuantizedStore> m_quantizedStore;  // may be empty
    ThreadPool m_pool;
    AttentionScratch m_attentionScratch;
    QuantizedActivations m_quantized;
};

}  // namespace

std::unique_ptr<Backend> createCpuBackend(int threadCount,
                                          std::shared_ptr<QuantizedStore> quantized) {
    return std::make_unique<CpuBackend>(threadCount, std::move(quantized));
}

}  // namespace qllama::cpu
