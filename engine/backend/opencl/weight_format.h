// The forms in which weights lie on the device. A further one is a row in the table of
// weight_format.cpp and the kernel files that it names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/backend/precision.h"
#include "engine/checkpoint/tensor_catalog.h"
#include "engine/common/result.h"
#include "engine/quant/block_format.h"

namespace qllama::opencl {

struct WeightFormat {
    std::string_view name;
    // kernels/embed_<family>.cl, matvec_<family>_{cpu,gpu}.cl, matmul_<family>_{cpu,gpu}.cl
    std::string_view family;
    std::string_view options;  // for compiling them
    std::int64_t tileRows;  // rows that are stored together; a matrix is a sequence of such tiles
    // Set: tiles of a BlockMatrix, then the factors of their rows; the products take x from
    // ActivationRounding. Otherwise rows of this type.
    std::optional<BlockFormat> quant;
    DType dtype;

    [[nodiscard]] std::int64_t tileBytes(std::int64_t columns) const;  // with factors

    [[nodiscard]] std::int64_t tilesIn(std::int64_t rows) const {
        return (rows + tileRows - 1) / tileRows;
    }
};

// Row `row` in the format's type, which is not quantised, into `target`; `wide` is scratch.
void packRow(const WeightFormat& format, const CatalogTensor& tensor, std::int64_t row,
             std::byte* target, std::vector<float>& wide);

// What a tensor becomes when loaded with `precision`; Unsupported where no row has that.
Result<const WeightFormat*> weightFormatFor(const CatalogTensor& tensor, Precision precision);

}  // namespace qllama::opencl
