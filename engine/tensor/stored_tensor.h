// A tensor as a checkpoint stores it: a strided view of bytes that stay where they are, usually in
// a mapped file. No loader copies weights; the backends read through this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor/dtype.h"

namespace qllama {

class MappedFile;

// Bytes of one storage (a member of the zip, or a region of an old-style file).
struct StorageBytes {
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;          // keeps `bytes` valid
    std::shared_ptr<const MappedFile> mapping;  // set when `bytes` lie in a mapped file
};

// Invariant kept by whoever makes one: every element that shape and strides reach lies in
// storage.bytes (checked with 64-bit arithmetic that cannot overflow); strides are not negative.
struct StoredTensor {
    DType dtype = DType::F32;
    std::vector<std::int64_t> shape;    // rank 0 to 8
    std::vector<std::int64_t> strides;  // in elements, same rank
    StorageBytes storage;
    std::int64_t offset = 0;  // of element 0, in elements

    [[nodiscard]] std::int64_t elementCount() const;
    [[nodiscard]] bool isContiguous() const;  // row-major without gaps
    [[nodiscard]] const std::byte* data() const {
        return storage.bytes.data() + offset * sizeOf(dtype);
    }

    // Elements [column, column + out.size()) of row `row` of a matrix (or of a vector, row 0),
    // widened or narrowed to f32. Float dtypes only; any strides.
    void readRow(std::int64_t row, std::int64_t column, std::span<float> out) const;
};

// "[4096, 11008]"
[[nodiscard]] std::string shapeText(std::span<const std::int64_t> shape);

}  // namespace qllama
