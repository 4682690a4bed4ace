#include "engine/checkpoint/tensor_catalog.h"

#include <cassert>
#include <set>
#include <utility>

#include "engine/common/mapped_file.h"

namespace qllama {
namespace {

// From element 0 to the last element that the strides reach.
std::span<const std::byte> bytesReached(const StoredTensor& part) {
    std::int64_t last = 0;
    for (std::size_t axis = 0; axis < part.shape.size(); ++axis) {
        if (part.shape[axis] == 0) return {};
        last += (part.shape[axis] - 1) * part.strides[axis];
    }
    return {part.data(), static_cast<std::size_t>((last + 1) * sizeOf(part.dtype))};
}

}  // namespace

std::int64_t CatalogTensor::elementCount() const {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape)
        count *= extent;
    return count;
}

std::int64_t CatalogTensor::sizeBytes() const {
    return elementCount() * sizeOf(dtype);
}

bool CatalogTensor::isInPlace() const {
    if (parts.size() != 1 || !parts[0].isContiguous()) return false;
    const auto address = reinterpret_cast<std::uintptr_t>(parts[0].data());
    return address % static_cast<std::uintptr_t>(sizeOf(dtype)) == 0;
}

void CatalogTensor::readRow(std::int64_t row, std::span<float> out) const {
    assert(!parts.empty());
    if (axis == JoinAxis::Rows) {
        const std::int64_t rowsEach = parts[0].shape[0];
        parts[static_cast<std::size_t>(row / rowsEach)].readRow(row % rowsEach, 0, out);
        return;
    }
    if (axis == JoinAxis::None) {
        parts[0].readRow(row, 0, out);
        return;
    }
    const auto columnsEach = static_cast<std::size_t>(parts[0].shape[1]);
    for (std::size_t part = 0; part < parts.size(); ++part)
        parts[part].readRow(row, 0, out.subspan(part * columnsEach, columnsEach));
}

void CatalogTensor::releasePages() const {
    for (const StoredTensor& part : parts)
        if (part.storage.mapping) part.storage.mapping->release(bytesReached(part));
}

std::int64_t parameterCount(const TensorCatalog& catalog) {
    std::set<std::pair<const std::byte*, std::vector<std::int64_t>>> counted;
    std::int64_t count = 0;
    for (const auto& [name, tensor] : catalog) {
        const bool isNew = counted.emplace(tensor.parts.front().data(), tensor.shape).second;
        if (isFloat(tensor.dtype) && isNew) count += tensor.elementCount();
    }
    return count;
}

}  // namespace qllama
