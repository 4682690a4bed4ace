// The forms of a weight matrix on the CPU; a new one is a class here and a case in weight_loading.
// Private to backend/cpu.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/kernels/packed_kernels.h"
#include "engine/backend/cpu/kernels/panel_kernels.h"
#include "engine/backend/cpu/kernels/quant_kernels.h"
#include "engine/backend/cpu/kernels/row_kernels.h"
#include "engine/quant/block_matrix.h"

namespace qllama::cpu {

// The right-hand side of a product: n rows of activations, in the forms that the matrices want.
struct Activations {
    const float* values = nullptr;  // [n, columns]
    std::int64_t n = 0;
    const QuantizedActivations* quantized = nullptr;
    const PackedTokens* packed = nullptr;  // null for a few tokens
    int threads = 1;                       // that multiply at once
    float* room = nullptr;                 // roomFloats() of the calling thread alone
};

enum class ActivationForm { Packed, Quantized };  // Packed: plain if there are few tokens

class CpuMatrix : public Matrix {
public:
    // Portions of rows handed to threads are multiples of this, for n tokens.
    [[nodiscard]] virtual std::int64_t rowGranularity(std::int64_t n) const = 0;
    [[nodiscard]] virtual ActivationForm activationForm() const = 0;
    // What multiply() works in on each of so many threads, for n tokens.
    [[nodiscard]] virtual std::int64_t roomFloats(std::int64_t n, int threads) const = 0;
    // out[i * rows() + row] (= or +=) this[row, :] . x[i, :] for row in [begin, end). Each row's
    // result depends on nothing but that row and x[i, :]. Called from several threads at once.
    virtual void multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                          bool accumulate) const = 0;
    virtual void readRow(std::int64_t row, float* out) const = 0;
};

// Rows one after the other, in the file's mapping or in memory of our own.
class RowMatrix final : public CpuMatrix {
public:
    RowMatrix(RowMajorWeights weights, std::shared_ptr<const void> owner)
        : m_weights(weights), m_owner(std::move(owner)) {}
    [[nodiscard]] std::int64_t rows() const override { return m_weights.rows; }
    [[nodiscard]] std::int64_t columns() const override { return m_weights.columns; }
    [[nodiscard]] std::int64_t sizeBytes() const override {
        return m_weights.rows * m_weights.columns * sizeOf(m_weights.dtype);
    }
    [[nodiscard]] std::int64_t rowGranularity(std::int64_t n) const override;
    [[nodiscard]] ActivationForm activationForm() const override { return ActivationForm::Packed; }
    [[nodiscard]] std::int64_t roomFloats(std::int64_t n, int threads) const override;
    void multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                  bool accumulate) const override;
    void readRow(std::int64_t row, float* out) const override;

private:
    [[nodiscard]] std::span<const std::byte> bytesOf(std::int64_t begin, std::int64_t end) const;

    RowMajorWeights m_weights;
    std::shared_ptr<const void> m_owner;
};

// Rows of bf16 or f16 in fewer bits: the results of a RowMatrix with them (packed_kernels.h).
class PackedMatrix final : public CpuMatrix {
public:
    explicit PackedMatrix(BlockMatrix weights) : m_weights(std::move(weights)) {}
    [[nodiscard]] std::int64_t rows() const override { return m_weights.rows; }
    [[nodiscard]] std::int64_t columns() const override { return m_weights.columns; }
    [[nodiscard]] std::int64_t sizeBytes() const override { return m_weights.sizeBytes(); }
    [[nodiscard]] std::int64_t rowGranularity(std::int64_t n) const override;
    [[nodiscard]] ActivationForm activationForm() const override { return ActivationForm::Packed; }
    [[nodiscard]] std::int64_t roomFloats(std::int64_t n, int threads) const override;
    void multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                  bool accumulate) const override;
    void readRow(std::int64_t row, float* out) const override;

private:
    void multiplyManyTokens(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                            bool accumulate) const;
    // Rows [begin, end), in `room`
    [[nodiscard]] RowMajorWeights unpack(std::int64_t begin, std::int64_t end, float* room) const;

    BlockMatrix m_weights;
};

// Quantised tiles of 16 rows.
class TileMatrix final : public CpuMatrix {
public:
    explicit TileMatrix(BlockMatrix weights) : m_weights(std::move(weights)) {}
    [[nodiscard]] std::int64_t rows() const override { return m_weights.rows; }
    [[nodiscard]] std::int64_t columns() const override { return m_weights.columns; }
    [[nodiscard]] std::int64_t sizeBytes() const override { return m_weights.sizeBytes(); }
    [[nodiscard]] std::int64_t rowGranularity(std::int64_t) const override { return kTileRows; }
    [[nodiscard]] ActivationForm activationForm() const override {
        return ActivationForm::Quantized;
    }
    [[nodiscard]] std::int64_t roomFloats(std::int64_t, int) const override { return 0; }
    void multiply(std::int64_t begin, std::int64_t end, const Activations& x, float* out,
                  bool accumulate) const override;
    void readRow(std::int64_t row, float* out) const override;

private:
    BlockMatrix m_weights;
};

}  // namespace qllama::cpu
