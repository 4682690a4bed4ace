// Tensors and matrices made in memory, for tests that need no file.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/checkpoint/tensor_catalog.h"
#include "engine/sampling/sampler.h"

namespace qllama::test {

// Roughly normal values of the given scale, the same on every machine.
inline std::vector<float> randomValues(std::int64_t count, std::uint64_t seed, float scale) {
    RandomGenerator random(seed);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) {
        double sum = 0;
        for (int i = 0; i < 4; ++i)
            sum += random.uniform() - 0.5;
        value = static_cast<float>(sum * std::sqrt(3.0)) * scale;
    }
    return values;
}

inline CatalogTensor tensorOf(std::string name, std::vector<std::int64_t> shape, DType dtype,
                              const std::vector<float>& values) {
    auto bytes = std::make_shared<std::vector<std::byte>>(values.size() *
                                                          static_cast<std::size_t>(sizeOf(dtype)));
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (dtype == DType::F32) {
            std::memcpy(bytes->data() + i * 4, &values[i], 4);
        } else {
            const std::uint16_t bits =
                dtype == DType::F16 ? floatToHalf(values[i]) : floatToBfloat16(values[i]);
            std::memcpy(bytes->data() + i * 2, &bits, 2);
        }
    }
    StoredTensor part;
    part.dtype = dtype;
    part.shape = shape;
    part.strides.assign(shape.size(), 1);
    for (std::size_t axis = shape.size(); axis-- > 1;)
        part.strides[axis - 1] = part.strides[axis] * shape[axis];
    part.storage = {*bytes, bytes, nullptr};
    CatalogTensor tensor;
    tensor.name = std::move(name);
    tensor.dtype = dtype;
    tensor.shape = std::move(shape);
    tensor.parts.push_back(std::move(part));
    return tensor;
}

}  // namespace qllama::test
