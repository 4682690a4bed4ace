// From a tensor of the checkpoint to a matrix for the CPU kernels. Private to backend/cpu.
#pragma once

#include <memory>
#include <stop_token>

#include "engine/backend/backend.h"
#include "engine/common/thread_pool.h"
#include "engine/quant/quantized_matrix.h"

namespace qllama::cpu {

// In place where the precision and the layout allow it; otherwise converted row by row on all
// threads into memory of our own, after which the file's pages are given back. Quantised matrices
// are taken from `store` (may be null) if it has them, and put there otherwise.
Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                           ThreadPool& pool, QuantizedStore* store,
                                           std::stop_token stop);

// Rounds a tensor of any float type, a tile at a time on all threads; the file's pages are given
// back as they are used up.
Result<QuantizedMatrix> quantizeTensor(const CatalogTensor& tensor, QuantFormat format,
                                       ThreadPool& pool, std::stop_token stop);

}  // namespace qllama::cpu
