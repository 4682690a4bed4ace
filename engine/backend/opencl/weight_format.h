// The forms in which weights lie on the device. A further one is a row in the table of
// weight_format.cpp and the kernel files that it names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/backend/precision.h"
#include "engine/checkpoint/tensor_catalog.h"
#include "engine/common/result.h"

namespace qllama::opencl {

struct WeightFormat {
    std::string_view name;
    // kernels/embed_<family>.cl, matvec_<family>_{cpu,gpu}.cl, matmul_<family>_{cpu,gpu}.cl
    std::string_view family;
    std::string_view options;  // for compiling them
    std::int64_t tileRows;   // rows that are stored together; a matrix is a sequence of such tiles
    bool roundsActivations;  // the products take x from ActivationRounding
    std::int64_t (*tileBytes)(std::int64_t columns);
    // Puts the rows of one tile into `target` [tileBytes]; `wide` is scratch.
    void (*packTile)(const CatalogTensor& tensor, std::int64_t tile, std::byte* target,
                     std::vector<float>& wide);
    // True when the bytes of the file are already this format (and the tensor lies in one piece).
    bool (*isStoredSo)(const CatalogTensor& tensor);

    [[nodiscard]] std::int64_t tilesIn(std::int64_t rows) const {
        return (rows + tileRows - 1) / tileRows;
    }
};

// What a tensor becomes when loaded with `precision`; Unsupported where no row has that.
Result<const WeightFormat*> weightFormatFor(const CatalogTensor& tensor, Precision precision);

}  // namespace qllama::opencl
