#include "engine/tensor/stored_tensor.h"

#include <cassert>
#include <cstring>

namespace qllama {
namespace {

// Members of a zip need not be aligned to their element size: every read goes through memcpy.
template <typename Bits, typename Convert>
void readStrided(const std::byte* source, std::int64_t stride, std::span<float> out,
                 Convert convert) {
    for (std::size_t index = 0; index < out.size(); ++index) {
        Bits bits;
        std::memcpy(&bits, source + static_cast<std::int64_t>(index) * stride * sizeof(Bits),
                    sizeof bits);
        out[index] = convert(bits);
    }
}

}  // namespace

std::int64_t StoredTensor::elementCount() const {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape)
        count *= extent;
    return count;
}

bool StoredTensor::isContiguous() const {
    std::int64_t expected = 1;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
        if (shape[axis] != 1 && strides[axis] != expected) return false;
        expected *= shape[axis];
    }
    return true;
}

void StoredTensor::readRow(std::int64_t row, std::int64_t column, std::span<float> out) const {
    assert(shape.size() == 1 || shape.size() == 2);
    assert(isFloat(dtype));
    const bool matrix = shape.size() == 2;
    const std::int64_t columnStride = strides.back();
    const std::int64_t first = (matrix ? row * strides[0] : 0) + column * columnStride;
    const std::byte* source = data() + first * sizeOf(dtype);
    switch (dtype) {
        case DType::F64:
            readStrided<double>(source, columnStride, out,
                                [](double value) { return static_cast<float>(value); });
            break;
        case DType::F32:
            readStrided<float>(source, columnStride, out, [](float value) { return value; });
            break;
        case DType::F16:
            readStrided<std::uint16_t>(source, columnStride, out, halfToFloat);
            break;
        case DType::BF16:
            readStrided<std::uint16_t>(source, columnStride, out, bfloat16ToFloat);
            break;
        default:
            assert(false);
    }
}

std::string shapeText(std::span<const std::int64_t> shape) {
    std::string text = "[";
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        if (axis != 0) text += ", ";
        text += std::to_string(shape[axis]);
    }
    return text + "]";
}

}  // namespace qllama
