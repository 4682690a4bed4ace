#include "engine/backend/reference/reference_backend.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/backend/cpu/weight_loading.h"

namespace qllama {
namespace {

class ReferenceBuffer final : public Buffer {
public:
    explicit ReferenceBuffer(std::int64_t size) : values(static_cast<std::size_t>(size)) {}
    std::vector<float> values;
};

float* dataOf(const Buffer& buffer) {
    return const_cast<float*>(static_cast<const ReferenceBuffer&>(buffer).values.data());
}

class ReferenceMatrix final : public Matrix {
public:
    ReferenceMatrix(std::int64_t rowCount, std::int64_t columnCount, bool quantized)
        : m_rows(rowCount),
          m_columns(columnCount),
          m_isQuantized(quantized),
          values(static_cast<std::size_t>(rowCount * columnCount)) {}
    [[nodiscard]] std::int64_t rows() const override { return m_rows; }
    [[nodiscard]] std::int64_t columns() const override { return m_columns; }
    [[nodiscard]] std::int64_t sizeBytes() const override { return m_rows * m_columns * 4; }
    [[nodiscard]] bool isQuantized() const { return m_isQuantized; }
    [[nodiscard]] const float* row(std::int64_t index) const {
        return values.data() + index * m_columns;
    }

private:
    std::int64_t m_rows;
    std::int64_t m_columns;
    bool m_isQuantized;

public:
    std::vector<float> values;
};

class ReferenceKvCache final : public KvCache {
public:
    explicit ReferenceKvCache(const KvShape& cacheShape)
        : shape(cacheShape),
          keys(static_cast<std::size_t>(shape.layerCount * shape.kvHeadCount * shape.capacity *
                                        shape.headDim)),
          values(keys.size()) {}
    [[nodiscard]] std::size_t index(std::int64_t layer, std::int64_t head,
                                    std::int64_t position) const {
        return static_cast<std::size_t>(
            ((layer * shape.kvHeadCount + head) * shape.capacity + position) * shape.headDim);
    }
    KvShape shape;
    std::vector<float> keys;
    std::vector<float> values;
};

float rounded(float value, Precision precision) {
    if (precision == Precision::F16) return halfToFloat(floatToHalf(value));
    if (precision == Precision::BF16) return bfloat16ToFloat(floatToBfloat16(value));
    return value;
}

// x [columns] after rounding.
std::vector<double> roundedActivations(const float* x, std::int64_t columns) {
    std::vector<double> result;
    for (std::int64_t first = 0; first < columns; first += kRoundedColumns) {
        const std::span<const float> block(
            x + first, static_cast<std::size_t>(std::min(kRoundedColumns, columns - first)));
        float largest = 0;
        for (const float value : block)
            largest = std::max(largest, std::abs(value));
        const float inverse = largest > 0 ? 127.0F / largest : 0.0F;
        const float scale = largest / 127.0F;
        for (const float value : block)
            result.push_back(double{scale} * std::nearbyint(value * inverse));
    }
    return result;
}

void rotate(float* head, const float* rotation, std::int64_t headDim) {
    for (std::int64_t i = 0; i < headDim; i += 2) {
        const double real = head[i];
        const double imaginary = head[i + 1];
        head[i] = static_cast<float>(real * rotation[i] - imaginary * rotation[i + 1]);
        head[i + 1] = static_cast<float>(real * rotation[i + 1] + imaginary * rotation[i]);
    }
}

class ReferenceBackend final : public Backend {
public:
    explicit ReferenceBackend(const ReferenceOptions& options) : m_options(options) {
        m_device.id = m_device.name = "reference";
    }

    [[nodiscard]] const DeviceInfo& device() const override { return m_device; }

    Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                               std::stop_token stop) override {
        auto matrix = std::make_unique<ReferenceMatrix>(tensor.shape.front(), tensor.shape.back(),
                                                        quantFormat(precision).has_value());
        BlockMatrix quantized;
        if (const auto format = quantFormat(precision)) {
            QLLAMA_TRY(auto pool, ThreadPool::start(1));
            QLLAMA_TRY(quantized, cpu::quantizeTensor(tensor, *format, pool, stop));
        }
        const auto columns = static_cast<std::size_t>(tensor.shape.back());
        for (std::int64_t row = 0; row < matrix->rows(); ++row) {
            if (stop.stop_requested()) return cancelledError();
            const std::span<float> out(matrix->values.data() + row * tensor.shape.back(), columns);
            if (quantized.tiles != nullptr)
                quantized.dequantizeRow(row, out);
            else
                tensor.readRow(row, out);
            for (float& value : out)  // packed: exactly as in the file
                value = rounded(value, precision);
        }
        return std::unique_ptr<Matrix>(std::move(matrix));
    }

    Result<std::unique_ptr<Buffer>> loadVector(const CatalogTensor& tensor) override {
        auto buffer = std::make_unique<ReferenceBuffer>(tensor.elementCount());
        tensor.readRow(0, buffer->values);
        return std::unique_ptr<Buffer>(std::move(buffer));
    }

    Result<std::unique_ptr<Buffer>> createBuffer(std::int64_t floatCount) override {
        return std::unique_ptr<Buffer>(std::make_unique<ReferenceBuffer>(floatCount));
    }

    Result<std::unique_ptr<KvCache>> createKvCache(const KvShape& shape) override {
        return std::unique_ptr<KvCache>(std::make_unique<ReferenceKvCache>(shape));
    }

    void embed(const Matrix& table, std::span<const std::int32_t> tokens, Buffer& x) override {
        const auto& matrix = static_cast<const ReferenceMatrix&>(table);
        float* out = dataOf(x);
        for (const std::int32_t token : tokens)
            out = std::copy_n(matrix.row(token), matrix.columns(), out);
    }

    void rmsNorm(const Buffer& x, std::int64_t firstRow, const Buffer& gain, float epsilon,
                 std::int64_t width, std::int64_t n, Buffer& out) override {
        for (std::int64_t i = 0; i < n; ++i) {
            const float* in = dataOf(x) + (firstRow + i) * width;
            double squares = 0;
            for (std::int64_t j = 0; j < width; ++j)
                squares += double{in[j]} * in[j];
            const double scale = 1.0 / std::sqrt(squares / static_cast<double>(width) + epsilon);
            for (std::int64_t j = 0; j < width; ++j)
                dataOf(out)[i * width + j] = static_cast<float>(in[j] * scale * dataOf(gain)[j]);
        }
    }

    void matmul(std::span<const MatmulTask> tasks, const Buffer& x, std::int64_t n) override {
        for (const MatmulTask& task : tasks) {
            const auto& weight = static_cast<const ReferenceMatrix&>(*task.weight);
            for (std::int64_t i = 0; i < n; ++i) {
                const float* given = dataOf(x) + i * weight.columns();
                const std::vector<double> in =
                    weight.isQuantized() && m_options.roundsActivations
                        ? roundedActivations(given, weight.columns())
                        : std::vector<double>(given, given + weight.columns());
                for (std::int64_t row = 0; row < weight.rows(); ++row) {
                    double sum = 0;
                    for (std::int64_t k = 0; k < weight.columns(); ++k)
                        sum += weight.row(row)[k] * in[static_cast<std::size_t>(k)];
                    float& out = dataOf(*task.out)[i * weight.rows() + row];
                    out = static_cast<float>(task.accumulate ? out + sum : sum);
                }
            }
        }
    }

    void ropeAndStore(Buffer& q, Buffer& k, const Buffer& v, const Buffer& rotations,
                      const AttentionShape& shape, KvCache& cache, std::int64_t layer,
                      std::int64_t first, std::int64_t n) override {
        auto& kv = static_cast<ReferenceKvCache&>(cache);
        const bool half = kv.shape.precision == KvPrecision::F16;
        const auto kept = [half](float value) {
            return half ? halfToFloat(floatToHalf(value)) : value;
        };
        for (std::int64_t i = 0; i < n; ++i) {
            const float* rotation = dataOf(rotations) + (first + i) * shape.headDim;
            for (std::int64_t head = 0; head < shape.headCount; ++head)
                rotate(dataOf(q) + (i * shape.headCount + head) * shape.headDim, rotation,
                       shape.headDim);
            for (std::int64_t head = 0; head < shape.kvHeadCount; ++head) {
                const std::int64_t start = (i * shape.kvHeadCount + head) * shape.headDim;
                rotate(dataOf(k) + start, rotation, shape.headDim);
                const std::size_t target = kv.index(layer, head, first + i);
                std::transform(dataOf(k) + start, dataOf(k) + start + shape.headDim,
                               kv.keys.begin() + static_cast<std::ptrdiff_t>(target), kept);
                std::transform(dataOf(v) + start, dataOf(v) + start + shape.headDim,
                               kv.values.begin() + static_cast<std::ptrdiff_t>(target), kept);
            }
        }
    }

    void attention(const Buffer& q, const AttentionShape& shape, const KvCache& cache,
                   std::int64_t layer, std::int64_t first, std::int64_t n, Buffer& out) override {
        const auto& kv = static_cast<const ReferenceKvCache&>(cache);
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t head = 0; head < shape.headCount; ++head) {
                const std::int64_t start = (i * shape.headCount + head) * shape.headDim;
                const std::int64_t kvHead = head / (shape.headCount / shape.kvHeadCount);
                attendOne(dataOf(q) + start, kv, layer, kvHead, first + i + 1, dataOf(out) + start);
            }
    }

    void swiglu(Buffer& gate, const Buffer& up, std::int64_t width, std::int64_t n) override {
        for (std::int64_t i = 0; i < width * n; ++i) {
            const double value = dataOf(gate)[i];
            dataOf(gate)[i] = static_cast<float>(value / (1.0 + std::exp(-value)) * dataOf(up)[i]);
        }
    }

    Result<void> read(const Buffer& buffer, std::int64_t first, std::span<float> out) override {
        std::copy_n(dataOf(buffer) + first, out.size(), out.data());
        return {};
    }

    Result<void> write(Buffer& buffer, std::int64_t first, std::span<const float> in) override {
        std::copy(in.begin(), in.end(), dataOf(buffer) + first);
        return {};
    }

    Result<void> finish() override { return {}; }

    Result<std::unique_ptr<SpeedProbe>> createSpeedProbe(const std::stop_token&) override {
        return Error{ErrorCode::Unsupported, "The reference backend is not made for speed.", {}};
    }

private:
    static void attendOne(const float* query, const ReferenceKvCache& kv, std::int64_t layer,
                          std::int64_t kvHead, std::int64_t keyCount, float* out) {
        const std::int64_t headDim = kv.shape.headDim;
        std::vector<double> scores(static_cast<std::size_t>(keyCount));
        for (std::int64_t j = 0; j < keyCount; ++j) {
            const float* key = kv.keys.data() + kv.index(layer, kvHead, j);
            double sum = 0;
            for (std::int64_t dim = 0; dim < headDim; ++dim)
                sum += double{query[dim]} * key[dim];
            scores[static_cast<std::size_t>(j)] = sum / std::sqrt(static_cast<double>(headDim));
        }
        const double maximum = *std::max_element(scores.begin(), scores.end());
        double total = 0;
        for (double& score : scores)
            total += score = std::exp(score - maximum);
        for (std::int64_t dim = 0; dim < headDim; ++dim) {
            double sum = 0;
            for (std::int64_t j = 0; j < keyCount; ++j)
                sum += scores[static_cast<std::size_t>(j)] *
                       kv.values[kv.index(layer, kvHead, j) + static_cast<std::size_t>(dim)];
            out[dim] = static_cast<float>(sum / total);
        }
    }

    ReferenceOptions m_options;
    DeviceInfo m_device;
};

}  // namespace

std::unique_ptr<Backend> createReferenceBackend(const ReferenceOptions& options) {
    return std::make_unique<ReferenceBackend>(options);
}

}  // namespace qllama
