#include "engine/backend/precision.h"

#include "engine/quant/block_matrix.h"

namespace qllama {
namespace {

std::int64_t blockBytes(BlockFormat format, std::int64_t rows, std::int64_t columns) {
    BlockMatrix matrix;
    matrix.format = format;
    matrix.rows = rows;
    matrix.columns = columns;
    return matrix.sizeBytes();
}

constexpr PrecisionInfo kPrecisions[] = {
    {Precision::Source, "source", "As in the file",
     "The weights are used where they lie in the file, without a copy."},
    {Precision::F32, "f32", "32-bit float",
     "Widened to 32 bits while loading; needs the most memory."},
    {Precision::F16, "f16", "16-bit float", "Rounded to 16 bits while loading."},
    {Precision::BF16, "bf16", "16-bit bfloat",
     "Rounded to 16 bits with the range of 32 while loading."},
    {Precision::Packed, "packed", "Lossless packing",
     "On the processor, weights that are bf16 in the file take 12 bits and those that are f16 take "
     "15, exactly as they are: less memory, the same text, and with AVX-512 (bf16: with AVX2, too) "
     "more tokens a second. Others stay as in the file."},
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
            return rowDType(Precision::Source, source);
        case Precision::Q8:
        case Precision::Q4:
            break;
    }
    return std::nullopt;
}

std::optional<BlockFormat> madeFormat(Precision precision, DType source, std::int64_t rows,
                                      std::int64_t columns) {
    if (precision != Precision::Packed) return quantFormat(precision);
    if (source != DType::BF16 && source != DType::F16) return std::nullopt;
    const BlockFormat format =
        source == DType::BF16 ? BlockFormat::PackedBf16 : BlockFormat::PackedF16;
    const bool isSmaller = blockBytes(format, rows, columns) < rows * columns * sizeOf(source);
    return isSmaller && columns <= kMostPackedColumns ? std::optional(format) : std::nullopt;
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
    if (const auto format = madeFormat(precision, source, rows, columns))
        return blockBytes(*format, rows, columns);
    return rows * columns * sizeOf(*rowDType(precision, source));
}

}  // namespace qllama
