#include "engine/backend/cpu/cpu_backend.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/backend/cpu/cpu_attention.h"
#include "engine/backend/cpu/cpu_memory.h"
#include "engine/backend/cpu/kernels/elementwise_kernels.h"
#include "engine/backend/cpu/weight_loading.h"
#include "engine/common/thread_pool.h"

namespace qllama::cpu {
namespace {

// Rows that a thread takes at a time: small enough to even out a busy core, large enough that
// taking them costs nothing.
std::int64_t rowsPerPortion(std::int64_t totalRows, int threads) {
    const std::int64_t portions = std::int64_t{threads} * 8;
    const std::int64_t rows = (totalRows + portions - 1) / portions;
    return (rows + kPanelRows - 1) / kPanelRows * kPanelRows;
}

class CpuBackend final : public Backend {
public:
    explicit CpuBackend(int threadCount)
        : m_device(describeCpu()),
          m_pool(threadCount > 0 ? threadCount : physicalCoreCount()),
          m_gemmScratch(static_cast<std::size_t>(m_pool.threadCount())) {}

    [[nodiscard]] const DeviceInfo& device() const override { return m_device; }

    Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                               std::stop_token stop) override {
        return cpu::loadMatrix(tensor, precision, m_pool, stop);
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
        const RowMajorWeights& weights = static_cast<const RowMatrix&>(table).weights();
        const std::int64_t rowBytes = weights.columns * sizeOf(weights.dtype);
        for (std::size_t i = 0; i < tokens.size(); ++i)
            widen(weights.dtype, static_cast<const std::byte*>(weights.data) + tokens[i] * rowBytes,
                  weights.columns, dataOf(x) + static_cast<std::int64_t>(i) * weights.columns);
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
        for (const MatmulTask& task : tasks)
            totalRows += task.weight->rows();
        const std::int64_t portion = rowsPerPortion(totalRows, m_pool.threadCount());
        std::int64_t portions = 0;
        for (const MatmulTask& task : tasks)
            portions += (task.weight->rows() + portion - 1) / portion;
        std::atomic<std::int64_t> next{0};
        m_pool.run([&](int worker) {
            for (std::int64_t taken;
                 (taken = next.fetch_add(1, std::memory_order_relaxed)) < portions;)
                multiplyPortion(tasks, dataOf(x), n, portion, taken, worker);
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

    void multiplyPortion(std::span<const MatmulTask> tasks, const float* x, std::int64_t n,
                         std::int64_t portion, std::int64_t index, int worker) {
        std::size_t task = 0;
        for (;; ++task) {
            const std::int64_t portions = (tasks[task].weight->rows() + portion - 1) / portion;
            if (index < portions) break;
            index -= portions;
        }
        const RowMajorWeights& weights =
            static_cast<const RowMatrix*>(tasks[task].weight)->weights();
        const std::int64_t begin = index * portion;
        const std::int64_t end = std::min(weights.rows, begin + portion);
        float* out = dataOf(*tasks[task].out);
        if (n == 1) {
            matvecRows(weights, begin, end, x, out, tasks[task].accumulate);
            return;
        }
        GemmScratch& scratch = m_gemmScratch[static_cast<std::size_t>(worker)];
        for (std::int64_t row = begin; row < end; row += kPanelRows)
            gemmPanel(weights, row, std::min(end, row + kPanelRows), x, n, out, weights.rows,
                      tasks[task].accumulate, scratch);
    }

    DeviceInfo m_device;
    ThreadPool m_pool;
    std::vector<GemmScratch> m_gemmScratch;  // one a worker
    AttentionScratch m_attentionScratch;
};

}  // namespace

std::unique_ptr<Backend> createCpuBackend(int threadCount) {
    return std::make_unique<CpuBackend>(threadCount);
}

}  // namespace qllama::cpu
