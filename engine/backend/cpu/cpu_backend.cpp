#include "engine/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/backend/cpu/cpu_attention.h"
#include "engine/backend/cpu/cpu_matrix.h"
#include "engine/backend/cpu/cpu_memory.h"
#include "engine/backend/cpu/cpu_speed_probe.h"
#include "engine/backend/cpu/kernels/elementwise_kernels.h"
#include "engine/backend/cpu/row_schedule.h"
#include "engine/backend/cpu/weight_loading.h"
#include "engine/common/thread_pool.h"

namespace qllama::cpu {
namespace {

const CpuMatrix& matrixOf(const MatmulTask& task) {
    return static_cast<const CpuMatrix&>(*task.weight);
}

// Rows of a task as the schedule counts them, so that no portion begins inside a granule.
std::int64_t paddedRows(const MatmulTask& task, std::int64_t granularity) {
    return (task.weight->rows() + granularity - 1) / granularity * granularity;
}

class CpuBackend final : public Backend {
public:
    CpuBackend(ThreadPool pool, std::shared_ptr<BlockStore> store)
        : m_device(describeCpu()),
          m_store(std::move(store)),
          m_pool(std::move(pool)),
          m_rooms(static_cast<std::size_t>(m_pool.threadCount())) {}

    [[nodiscard]] const DeviceInfo& device() const override { return m_device; }

    Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                               std::stop_token stop) override {
        return cpu::loadMatrix(tensor, precision, m_pool, m_store.get(), stop);
    }

    Result<std::unique_ptr<Buffer>> loadVector(const CatalogTensor& tensor) override {
        QLLAMA_TRY(auto buffer, createBuffer(tensor.elementCount()));
        tensor.readRow(0, {dataOf(*buffer), static_cast<std::size_t>(tensor.elementCount())});
        return buffer;
    }

    Result<std::unique_ptr<Buffer>> createBuffer(std::int64_t floatCount) override {
        QLLAMA_TRY(auto memory, HostMemory::allocate(floatCount * std::int64_t{sizeof(float)}, true,
                                                     "working buffers"));
        return std::unique_ptr<Buffer>(std::make_unique<CpuBuffer>(std::move(memory), floatCount));
    }

    Result<std::unique_ptr<KvCache>> createKvCache(const KvShape& shape) override {
        QLLAMA_TRY(auto memory,
                   HostMemory::allocate(CpuKvCache::bytesNeeded(shape), true, "the KV cache"));
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
        std::int64_t granularity = 1;
        for (const MatmulTask& task : tasks)
            granularity = std::max(granularity, matrixOf(task).rowGranularity(n));
        std::int64_t rows = 0;
        for (const MatmulTask& task : tasks)
            rows += paddedRows(task, granularity);
        std::int64_t roomFloats = 0;
        for (const MatmulTask& task : tasks)
            roomFloats = std::max(roomFloats, matrixOf(task).roomFloats(n, m_pool.threadCount()));
        if (roomFloats > 0)
            for (AlignedFloats& room : m_rooms)
                room.resize(roomFloats);
        const Activations activations = prepare(tasks, dataOf(x), n);
        RowSchedule schedule(rows, m_pool.threadCount(), granularity,
                             n == 1 ? rows : cachedRows(rows, granularity));
        m_pool.run([&](int worker) {
            Activations own = activations;
            own.room = m_rooms[static_cast<std::size_t>(worker)].get();
            for (RowRange range; (range = schedule.take()).begin != range.end;)
                multiplyRange(tasks, own, granularity, range);
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
               m_pool, m_attentionScratch, m_rooms);
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

    Result<std::unique_ptr<SpeedProbe>> createSpeedProbe(const std::stop_token& stop) override {
        QLLAMA_TRY(auto probe, CpuSpeedProbe::create(m_pool.threadCount(), stop));
        return std::unique_ptr<SpeedProbe>(std::move(probe));
    }

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

    // So few that a thread's portion stays in its cache while one token after another passes by.
    [[nodiscard]] std::int64_t cachedRows(std::int64_t rows, std::int64_t granularity) const {
        const std::int64_t granules = rows / (std::int64_t{8} * m_pool.threadCount() * granularity);
        return std::max<std::int64_t>(granules, 1) * granularity;
    }

    // Whole tiles a thread, or, where there are too few of them, single tokens.
    void roundAll(const float* x, std::int64_t columns, std::int64_t n) {
        const std::int64_t wholeTiles = n / m_quantized.together;
        const std::int64_t each = wholeTiles < m_pool.threadCount() ? 1 : m_quantized.together;
        forEachRow((n + each - 1) / each, [&](std::int64_t i) {
            roundTokens(x, columns, i * each, std::min(n, (i + 1) * each), m_quantized);
        });
    }

    // The forms of x that the matrices of the tasks want, each made once for all of them.
    Activations prepare(std::span<const MatmulTask> tasks, const float* x, std::int64_t n) {
        const std::int64_t columns = tasks.front().weight->columns();
        Activations activations{.values = x, .n = n, .threads = m_pool.threadCount()};
        const auto isWanted = [tasks](ActivationForm form) {
            return std::any_of(tasks.begin(), tasks.end(), [form](const MatmulTask& task) {
                return matrixOf(task).activationForm() == form;
            });
        };
        if (isWanted(ActivationForm::Quantized)) {
            resizeActivations(m_quantized, n, columns);
            roundAll(x, columns, n);
            activations.quantized = &m_quantized;
        }
        if (n >= kLeastPackedTokens && isWanted(ActivationForm::Packed)) {
            resizePackedTokens(m_packed, n, columns);
            forEachRow(m_packed.tiles, [&](std::int64_t tile) { packTile(x, tile, m_packed); });
            activations.packed = &m_packed;
        }
        return activations;
    }

    // `range` counts the rows of all tasks one after the other, each task's padded.
    void multiplyRange(std::span<const MatmulTask> tasks, const Activations& x,
                       std::int64_t granularity, RowRange range) {
        for (const MatmulTask& task : tasks) {
            const CpuMatrix& matrix = matrixOf(task);
            const std::int64_t end = std::min(range.end, matrix.rows());
            if (range.begin < end)
                matrix.multiply(range.begin, end, x, dataOf(*task.out), task.accumulate);
            range.end -= paddedRows(task, granularity);
            if (range.end <= 0) return;
            range.begin = std::max<std::int64_t>(0, range.begin - paddedRows(task, granularity));
        }
    }

    DeviceInfo m_device;
    std::shared_ptr<BlockStore> m_store;  // may be empty
    ThreadPool m_pool;
    AttentionScratch m_attentionScratch;
    QuantizedActivations m_quantized;
    PackedTokens m_packed;
    std::vector<AlignedFloats> m_rooms;  // one a thread: its panels of weights, or its keys
};

}  // namespace

Result<std::unique_ptr<Backend>> createCpuBackend(int threadCount,
                                                  std::shared_ptr<BlockStore> store) {
    QLLAMA_TRY(auto pool, ThreadPool::start(threadCount));
    return std::unique_ptr<Backend>(
        std::make_unique<CpuBackend>(std::move(pool), std::move(store)));
}

}  // namespace qllama::cpu
