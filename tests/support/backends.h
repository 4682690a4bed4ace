// Running one operation on a backend and reading the result back, for tests that compare backends.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "engine/backend/backend.h"
#include "tests/support/difference.h"
#include "tests/support/tensors.h"

namespace qllama::test {

inline constexpr float kUnit = std::numeric_limits<float>::epsilon() / 2;

// Empty when the backend reports a failure.
inline std::vector<float> readAll(Backend& backend, const Buffer& buffer, std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    if (!backend.read(buffer, 0, values).ok()) values.clear();
    return values;
}

inline std::unique_ptr<Buffer> bufferOf(Backend& backend, const std::vector<float>& values) {
    auto buffer = backend.createBuffer(static_cast<std::int64_t>(values.size()));
    if (!buffer.ok() || !backend.write(*buffer.value(), 0, values).ok()) return nullptr;
    return std::move(buffer).value();
}

// before += W x
inline std::vector<float> multiply(Backend& backend, const CatalogTensor& weights,
                                   const std::vector<float>& x, const std::vector<float>& before,
                                   std::int64_t n, Precision precision = Precision::Source) {
    auto matrix = backend.loadMatrix(weights, precision, {});
    if (!matrix.ok()) return {};
    const auto in = bufferOf(backend, x);
    const auto out = bufferOf(backend, before);
    const MatmulTask tasks[] = {{matrix.value().get(), out.get(), true}};
    backend.matmul(tasks, *in, n);
    return readAll(backend, *out, static_cast<std::int64_t>(before.size()));
}

struct AttentionCase {
    AttentionShape shape;
    std::int64_t past, rows;
    KvPrecision precision;
};

// Fills a cache with `past` positions, then attends with `rows` further ones in calls of `step`.
inline std::vector<float> attendInSteps(Backend& backend, const AttentionCase& test,
                                        std::int64_t step) {
    const AttentionShape& shape = test.shape;
    const std::int64_t total = test.past + test.rows;
    const std::int64_t width = shape.headCount * shape.headDim;
    const std::int64_t kvWidth = shape.kvHeadCount * shape.headDim;
    const auto q = randomValues(total * width, 1, 1.0F);
    const auto k = randomValues(total * kvWidth, 2, 1.0F);
    const auto v = randomValues(total * kvWidth, 3, 1.0F);
    std::vector<float> rotations;
    for (std::int64_t position = 0; position < total; ++position)
        for (std::int64_t i = 0; i < shape.headDim / 2; ++i) {
            const double angle =
                static_cast<double>(position) * std::pow(0.5, static_cast<double>(i));
            rotations.push_back(static_cast<float>(std::cos(angle)));
            rotations.push_back(static_cast<float>(std::sin(angle)));
        }
    const auto table = bufferOf(backend, rotations);
    auto cache =
        backend.createKvCache({2, shape.kvHeadCount, shape.headDim, total, test.precision});
    if (!cache.ok()) return {};
    std::vector<float> result;
    for (std::int64_t first = 0; first < total;) {
        const std::int64_t n =
            first < test.past ? test.past - first : std::min(step, total - first);
        const auto slice = [first, n](const std::vector<float>& all, std::int64_t rowWidth) {
            return std::vector<float>(all.begin() + first * rowWidth,
                                      all.begin() + (first + n) * rowWidth);
        };
        const auto qn = bufferOf(backend, slice(q, width));
        const auto kn = bufferOf(backend, slice(k, kvWidth));
        const auto vn = bufferOf(backend, slice(v, kvWidth));
        const auto out = bufferOf(backend, std::vector<float>(static_cast<std::size_t>(n * width)));
        backend.ropeAndStore(*qn, *kn, *vn, *table, shape, *cache.value(), 1, first, n);
        backend.attention(*qn, shape, *cache.value(), 1, first, n, *out);
        const std::vector<float> rows = readAll(backend, *out, n * width);
        if (rows.empty()) return {};
        if (first >= test.past) result.insert(result.end(), rows.begin(), rows.end());
        first += n;
    }
    return result;
}

}  // namespace qllama::test
