#include "engine/backend/cpu/weight_loading.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/backend/cpu/cpu_memory.h"

namespace qllama::cpu {
namespace {

DType storedDType(DType source, Precision precision) {
    switch (precision) {
        case Precision::F32:
            return DType::F32;
        case Precision::F16:
            return DType::F16;
        case Precision::Source:
            break;
    }
    return source == DType::F64 ? DType::F32 : source;
}

bool usableInPlace(const CatalogTensor& tensor, DType wanted) {
    if (!tensor.isInPlace() || tensor.dtype != wanted) return false;
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.parts.front().data());
    return address % static_cast<std::uintptr_t>(sizeOf(wanted)) == 0;
}

// Whole rows of parts of the same type are copied as they are; anything else goes through f32.
void convertRow(const CatalogTensor& tensor, std::int64_t row, DType wanted, std::byte* target,
                std::vector<float>& wide) {
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    if (wanted == DType::F32) {
        tensor.readRow(row, {reinterpret_cast<float*>(target), columns});
        return;
    }
    wide.resize(columns);
    tensor.readRow(row, wide);
    narrow(wanted, wide.data(), static_cast<std::int64_t>(columns),
           reinterpret_cast<std::uint16_t*>(target));
}

}  // namespace

Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                           ThreadPool& pool, std::stop_token stop) {
    const std::int64_t rows = tensor.shape.front();
    const std::int64_t columns = tensor.shape.back();
    const DType wanted = storedDType(tensor.dtype, precision);
    if (usableInPlace(tensor, wanted)) {
        const StoredTensor& part = tensor.parts.front();
        return std::unique_ptr<Matrix>(std::make_unique<RowMatrix>(
            RowMajorWeights{wanted, part.data(), rows, columns}, part.storage.owner));
    }
    const std::int64_t rowBytes = columns * sizeOf(wanted);
    QLLAMA_TRY(auto memory, HostMemory::allocate(rows * rowBytes, true, "the weights"));
    std::atomic<std::int64_t> next{0};
    pool.run([&](int) {
        std::vector<float> wide;
        for (std::int64_t row; (row = next.fetch_add(1, std::memory_order_relaxed)) < rows;) {
            if (stop.stop_requested()) return;
            convertRow(tensor, row, wanted, memory->data() + row * rowBytes, wide);
        }
    });
    if (stop.stop_requested()) return cancelledError();
    tensor.releasePages();
    return std::unique_ptr<Matrix>(std::make_unique<RowMatrix>(
        RowMajorWeights{wanted, memory->data(), rows, columns}, memory));
}

}  // namespace qllama::cpu
