#include "engine/backend/opencl/weight_format.h"

#include "engine/backend/cpu/kernels/row_kernels.h"
#include "engine/quant/block_matrix.h"

namespace qllama::opencl {
namespace {

constexpr WeightFormat floatFormat(std::string_view name, DType dtype, std::string_view options) {
    return {.name = name,
            .family = "float",
            .options = options,
            .tileRows = 1,
            .quant = {},
            .dtype = dtype};
}

constexpr WeightFormat quantised(std::string_view name, BlockFormat quant,
                                 std::string_view options) {
    return {.name = name,
            .family = "tiles",
            .options = options,
            .tileRows = kTileRows,
            .quant = quant,
            .dtype = {}};
}

constexpr WeightFormat kFormats[] = {
    floatFormat("f16", DType::F16, "-DWEIGHT=16"), floatFormat("bf16", DType::BF16, "-DWEIGHT=17"),
    floatFormat("f32", DType::F32, "-DWEIGHT=32"), quantised("q8", BlockFormat::Q8, "-DBITS=8"),
    quantised("q4", BlockFormat::Q4, "-DBITS=4"),
};

}  // namespace

std::int64_t WeightFormat::tileBytes(std::int64_t columns) const {
    if (!quant) return columns * sizeOf(dtype);
    BlockMatrix tile;
    tile.format = *quant;
    tile.rows = kTileRows;
    tile.columns = columns;
    return tile.sizeBytes();
}

void packRow(const WeightFormat& format, const CatalogTensor& tensor, std::int64_t row,
             std::byte* target, std::vector<float>& wide) {
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    if (format.dtype == DType::F32) {
        tensor.readRow(row, {reinterpret_cast<float*>(target), columns});
        return;
    }
    wide.resize(columns);
    tensor.readRow(row, wide);
    cpu::narrow(format.dtype, wide.data(), tensor.shape.back(),
                reinterpret_cast<std::uint16_t*>(target));
}

Result<const WeightFormat*> weightFormatFor(const CatalogTensor& tensor, Precision precision) {
    precision = withoutPacking(precision);
    const auto dtype = rowDType(precision, tensor.dtype);
    const std::string_view name = dtype ? nameOf(*dtype) : keyOf(precision);
    for (const WeightFormat& format : kFormats)
        if (format.name == name) return &format;
    return Error{ErrorCode::Unsupported,
                 "OpenCL devices do not take weights in the precision " + std::string(name) +
                     ". Choose f16, or the device cpu.",
                 tensor.name};
}

}  // namespace qllama::opencl
