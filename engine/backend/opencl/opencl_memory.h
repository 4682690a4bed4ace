// What the OpenCL backend's buffers, matrices and caches are made of. Private to backend/opencl.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/backend/opencl/device_queue.h"

namespace qllama::opencl {

class ClBuffer final : public Buffer {
public:
    explicit ClBuffer(cl::Buffer memory) : m_memory(std::move(memory)) {}
    [[nodiscard]] const cl::Buffer& memory() const { return m_memory; }

private:
    cl::Buffer m_memory;
};

inline const cl::Buffer& memoryOf(const Buffer& buffer) {
    return static_cast<const ClBuffer&>(buffer).memory();
}

struct WeightKernels;  // matrix_kernels.h

// Whole rows of a matrix in one allocation; a matrix larger than the device's largest allocation is
// made of several.
struct MatrixPiece {
    cl::Buffer memory;
    std::int64_t firstRow = 0;
    std::int64_t rows = 0;
};

struct MatrixFacts {
    std::int64_t rows = 0;
    std::int64_t columns = 0;
    std::int64_t tileRows = 1;  // whole tiles are stored; see WeightFormat
    std::int64_t tileBytes = 0;
};

class ClMatrix final : public Matrix {
public:
    ClMatrix(const MatrixFacts& facts, WeightKernels* kernels, std::vector<MatrixPiece> pieces,
             std::shared_ptr<const void> owner)
        : m_facts(facts),
          m_kernels(kernels),
          m_owner(std::move(owner)),
          m_pieces(std::move(pieces)) {}
    [[nodiscard]] std::int64_t rows() const override { return m_facts.rows; }
    [[nodiscard]] std::int64_t columns() const override { return m_facts.columns; }
    [[nodiscard]] std::int64_t sizeBytes() const override { return bytesOf(m_facts.rows); }
    [[nodiscard]] std::int64_t bytesOf(std::int64_t rows) const {
        return (rows + m_facts.tileRows - 1) / m_facts.tileRows * m_facts.tileBytes;
    }
    [[nodiscard]] WeightKernels& kernels() const { return *m_kernels; }
    [[nodiscard]] const std::vector<MatrixPiece>& pieces() const { return m_pieces; }

private:
    MatrixFacts m_facts;
    WeightKernels* m_kernels;             // of the backend
    std::shared_ptr<const void> m_owner;  // of host memory that the pieces borrow, or null
    std::vector<MatrixPiece> m_pieces;
};

// One buffer a layer; the layout is in kernels/rope_store.cl.
class ClKvCache final : public KvCache {
public:
    static constexpr std::int64_t kKeyBlock = 32;  // positions, as in the kernels
    static constexpr std::int64_t kDimMultiple = 16;

    ClKvCache(const KvShape& shape, std::vector<cl::Buffer> layers)
        : m_shape(shape), m_layers(std::move(layers)) {}

    [[nodiscard]] static std::int64_t paddedCapacity(const KvShape& shape) {
        return (shape.capacity + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
    }
    [[nodiscard]] static std::int64_t paddedDim(std::int64_t headDim) {
        return (headDim + kDimMultiple - 1) / kDimMultiple * kDimMultiple;
    }
    [[nodiscard]] static std::int64_t elementBytes(const KvShape& shape) {
        return shape.precision == KvPrecision::F16 ? 2 : 4;
    }
    [[nodiscard]] static std::int64_t layerBytes(const KvShape& shape) {
        return shape.kvHeadCount * paddedCapacity(shape) *
               (shape.headDim + paddedDim(shape.headDim)) * elementBytes(shape);
    }

    [[nodiscard]] const KvShape& shape() const { return m_shape; }
    [[nodiscard]] const cl::Buffer& layer(std::int64_t index) const {
        return m_layers[static_cast<std::size_t>(index)];
    }

private:
    KvShape m_shape;
    std::vector<cl::Buffer> m_layers;
};

}  // namespace qllama::opencl
