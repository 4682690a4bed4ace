#include "engine/backend/opencl/weight_format.h"

#include <string>

#include "engine/backend/cpu/kernels/row_kernels.h"

namespace qllama::opencl {
namespace {

template <DType kType>
std::int64_t floatRowBytes(std::int64_t columns) {
    return columns * (kType == DType::F32 ? 4 : 2);
}

template <DType kType>
void packFloatRow(const CatalogTensor& tensor, std::int64_t row, std::byte* target,
                  std::vector<float>& wide) {
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    if constexpr (kType == DType::F32) {
        tensor.readRow(row, {reinterpret_cast<float*>(target), columns});
    } else {
        wide.resize(columns);
        tensor.readRow(row, wide);
        cpu::narrow(kType, wide.data(), tensor.shape.back(),
                    reinterpret_cast<std::uint16_t*>(target));
    }
}

template <DType kType>
bool isStoredAsFloat(const CatalogTensor& tensor) {
    return tensor.dtype == kType && tensor.isInPlace();
}

template <DType kType>
constexpr WeightFormat floatFormat(std::string_view name, std::string_view options) {
    return {
        name, "float", options, floatRowBytes<kType>, packFloatRow<kType>, isStoredAsFloat<kType>};
}

struct FormatRow {
    DType dtype;
    WeightFormat format;
};

constexpr FormatRow kFormats[] = {
    {DType::F16, floatFormat<DType::F16>("f16", "-DWEIGHT=16")},
    {DType::BF16, floatFormat<DType::BF16>("bf16", "-DWEIGHT=17")},
    {DType::F32, floatFormat<DType::F32>("f32", "-DWEIGHT=32")},
};

}  // namespace

Result<const WeightFormat*> weightFormatFor(const CatalogTensor& tensor, Precision precision) {
    if (const auto dtype = rowDType(precision, tensor.dtype))
        for (const FormatRow& row : kFormats)
            if (row.dtype == *dtype) return &row.format;
    return Error{ErrorCode::Unsupported,
                 "OpenCL devices do not take weights in the precision " +
                     std::string(keyOf(precision)) +
                     ". Choose f16, bf16 or f32, or the device cpu.",
                 tensor.name};
}

}  // namespace qllama::opencl
