// What a checkpoint holds, by name, after the shards were put together. No bytes are copied here.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor/stored_tensor.h"

namespace qllama {

// How the parts of a tensor that Meta's model parallelism split are joined.
enum class JoinAxis { None, Rows, Columns };

// One logical tensor. `parts` has one entry unless it was split over shards; joined along `axis`
// in order, the parts make up `shape`. All parts have the same dtype.
struct CatalogTensor {
    std::string name;
    DType dtype = DType::F32;
    std::vector<std::int64_t> shape;
    JoinAxis axis = JoinAxis::None;
    std::vector<StoredTensor> parts;

    [[nodiscard]] std::int64_t elementCount() const;
    [[nodiscard]] std::int64_t sizeBytes() const;  // elements times element size

    // One part, row-major without gaps, and aligned to its element (members of a zip need not be):
    // a backend may use the bytes where they are.
    [[nodiscard]] bool isInPlace() const;

    // Row `row` (vectors: row 0) as f32, whatever the parts, dtype and strides; `out` is a whole row.
    void readRow(std::int64_t row, std::span<float> out) const;

    // Tells the system that the mapped bytes behind this tensor are not needed any more.
    void releasePages() const;
};

using TensorCatalog = std::map<std::string, CatalogTensor>;

// Float elements of all tensors; one that is there under two names (tied weights) counts once.
[[nodiscard]] std::int64_t parameterCount(const TensorCatalog& catalog);

}  // namespace qllama
