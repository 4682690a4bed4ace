#include "engine/backend/opencl/weight_format.h"

#include <algorithm>

#include "engine/backend/cpu/kernels/quantize_kernels.h"
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
    return {.name = name,
            .family = "float",
            .options = options,
            .tileRows = 1,
            .roundsActivations = false,
            .tileBytes = floatRowBytes<kType>,
            .packTile = packFloatRow<kType>,
            .isStoredSo = isStoredAsFloat<kType>};
}

std::int64_t blocksOf(std::int64_t columns) {
    return (columns + kBlockColumns - 1) / kBlockColumns;
}

// The blocks of quant_format.h, then the factors of the tile's rows where there are any.
template <QuantFormat kFormat>
std::int64_t quantTileBytes(std::int64_t columns) {
    const QuantFormatInfo& info = infoOf(kFormat);
    return blocksOf(columns) * info.blockBytes + (info.hasRowFactors ? kTileRows * 8 : 0);
}

template <QuantFormat kFormat>
void packQuantTile(const CatalogTensor& tensor, std::int64_t tile, std::byte* target,
                   std::vector<float>& wide) {
    const std::int64_t columns = tensor.shape.back();
    const std::int64_t stride = blocksOf(columns) * kBlockColumns;
    wide.assign(static_cast<std::size_t>(kTileRows * stride), 0.0F);
    const std::int64_t first = tile * kTileRows;
    const std::int64_t rows = std::min(kTileRows, tensor.shape.front() - first);
    for (std::int64_t lane = 0; lane < rows; ++lane)
        tensor.readRow(first + lane,
                       {wide.data() + lane * stride, static_cast<std::size_t>(columns)});
    std::byte* factors = target + blocksOf(columns) * infoOf(kFormat).blockBytes;
    cpu::quantizeTile(kFormat, wide.data(), stride, columns, target,
                      infoOf(kFormat).hasRowFactors ? reinterpret_cast<float*>(factors) : nullptr);
}

template <QuantFormat kFormat>
constexpr WeightFormat quantFormatRow(std::string_view name, std::string_view options) {
    return {.name = name,
            .family = "tiles",
            .options = options,
            .tileRows = kTileRows,
            .roundsActivations = true,
            .tileBytes = quantTileBytes<kFormat>,
            .packTile = packQuantTile<kFormat>,
            .isStoredSo = [](const CatalogTensor&) { return false; }};
}

constexpr WeightFormat kFormats[] = {
    floatFormat<DType::F16>("f16", "-DWEIGHT=16"),
    floatFormat<DType::BF16>("bf16", "-DWEIGHT=17"),
    floatFormat<DType::F32>("f32", "-DWEIGHT=32"),
    quantFormatRow<QuantFormat::Q8>("q8", "-DBITS=8"),
    quantFormatRow<QuantFormat::Q4>("q4", "-DBITS=4"),
};

}  // namespace

Result<const WeightFormat*> weightFormatFor(const CatalogTensor& tensor, Precision precision) {
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
