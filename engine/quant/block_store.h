// Where quantised and packed matrices are kept between runs; backends ask it before they quantise.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/quant/block_matrix.h"

namespace qllama {

// One thread at a time. That a matrix cannot be packed is kept as well: see BlockMatrix::isMade().
class BlockStore {
public:
    virtual ~BlockStore() = default;

    // The matrix kept under this name, if it is of this form.
    virtual std::optional<BlockMatrix> find(std::string_view name, BlockFormat format,
                                            std::int64_t rows, std::int64_t columns) = 0;
    // Keeps a copy for the next run. Cannot fail: what could not be kept is quantised again then.
    virtual void keep(std::string_view name, const BlockMatrix& matrix) = 0;
    // Does that, and returns the copy if it can take the matrix' place: its bytes are there once the
    // whole model is kept, not before.
    virtual std::optional<BlockMatrix> exchange(std::string_view name,
                                                const BlockMatrix& matrix) = 0;
};

}  // namespace qllama
