#include "engine/backend/precision.h"

#include "engine/quant/block_matrix.h"

namespace qllama {
namespace {

constexpr PrecisionInfo kPrecisions[] = {
    {Precision::Source, "source", "As in the file",
     "The weights are used where they lie in the file, without a copy."},
    {Precision::F32, "f32", "32-bit float",
     "Widened to 32 bits while loading; needs the most memory."},
    {Precision::F16, "f16", "16-bit float", "Rounded to 16 bits while loading."},
    {Precision::BF16, "bf16", "16-bit bfloat",
     "Rounded to 16 bits with the range of 32 while loading."},
    {Precision::Packed, "packed", "bf16 in 12 bits",
     "Weights that are bf16 in the file take 12 bits on the processor, exactly as they are: three "
     "quarters of the memory, the same text, and with AVX2 or AVX-512 more tokens a second. "
     "Others stay as in the file."},
    {Precision::Q8, "q8", "8-bit blocks",
     "Rounded to 8 bits in blocks of 32 while loading: half the memory and twice the speed of 16 "
     "bits, almost the same text."},
    {Precision::Q4, "q4", "4-bit blocks",
     "Rounded to 4 bits in blocks of 32 while loading: the least memory and the highest speed."},
};

}  // namespace

std::span<const PrecisionInfo> precisions() {
    return kPrecisions;
}

std::string_view keyOf(Precision precision) {
    for (const PrecisionInfo& info : kPrecisions)
        if (info.precision == precision) return info.key;
    return "?";
}

std::optional<Precision> precisionFromKey(std::string_view key) {
    for (const PrecisionInfo& info : kPrecisions)
        if (info.key == key) return info.precision;
    return std::nullopt;
}

std::optional<DType> rowDType(Precision precision, DType source) {
    switch (precision) {
        case Precision::Source:
            return source == DType::F64 ? DType::F32 : source;
        case Precision::F32:
            return DType::F32;
        case Precision::F16:
            return DType::F16;
        case Precision::BF16:
            return DType::BF16;
        case Precision::Packed:
            if (source == DType::BF16) break;
            return rowDType(Precision::Source, source);
        case Precision::Q8:
        case Precision::Q4:
            break;
    }
    return std::nullopt;
}

std::optional<BlockFormat> madeFormat(Precision precision, DType source) {
    if (rowDType(precision, source)) return std::nullopt;
    return precision == Precision::Packed ? BlockFormat::Packed : quantFormat(precision);
}

std::optional<BlockFormat> quantFormat(Precision precision) {
    for (const BlockFormatInfo& info : quantizedFormats())
        if (info.key == keyOf(precision)) return info.format;
    return std::nullopt;
}

Precision withoutPacking(Precision precision) {
    return precision == Precision::Packed ? Precision::Source : precision;
}

std::int64_t matrixBytes(Precision precision, DType source, std::int64_t rows,
                         std::int64_t columns) {
    if (const auto dtype = rowDType(precision, source)) return rows * columns * sizeOf(*dtype);
    if (precision == Precision::Packed && columns > kMostPackedColumns)
        return rows * columns * sizeOf(source);
    BlockMatrix matrix;
    matrix.format = *madeFormat(precision, source);
    matrix.rows = rows;
    matrix.columns = columns;
    return matrix.sizeBytes();
}

}  // namespace qllama
