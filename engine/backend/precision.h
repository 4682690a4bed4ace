// The forms in which a backend may keep the weights. One line here and one row in the table of
// precision.cpp for the next one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "engine/quant/block_format.h"
#include "engine/tensor/dtype.h"

namespace qllama {

enum class Precision {
    Source,  // as in the file: f16, bf16 and f32 in place, f64 narrowed to f32
    F32,
    F16,
    BF16,
    Packed,  // bf16 in 12 bits and f16 in 15 without loss, on the CPU; otherwise as in the file
    Q8,
    Q4,
};

struct PrecisionInfo {
    Precision precision;
    std::string_view key;    // on the command line and in settings
    std::string_view label;  // in the window
    std::string_view help;
};

std::span<const PrecisionInfo> precisions();
std::string_view keyOf(Precision precision);
std::optional<Precision> precisionFromKey(std::string_view key);

// The format of a matrix that is made anew from a tensor stored as `source` in the file; none for one that keeps
// plain rows, as those do that packing would not make smaller.
std::optional<BlockFormat> madeFormat(Precision precision, DType source, std::int64_t rows,
                                      std::int64_t columns);
// The element type of plain rows; none of a precision that has none.
std::optional<DType> rowDType(Precision precision, DType source);
// The format of a precision that rounds to blocks, and its activations to 8 bits.
std::optional<BlockFormat> quantFormat(Precision precision);

// The same where packing is not known: on all devices but the CPU.
Precision withoutPacking(Precision precision);

// Exact bytes of a matrix [rows, columns] at this precision.
std::int64_t matrixBytes(Precision precision, DType source, std::int64_t rows,
                         std::int64_t columns);

}  // namespace qllama
