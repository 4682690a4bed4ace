// From a tensor of the checkpoint to a matrix for the CPU kernels, and the parts of that which other
// backends need as well.
#pragma once

#include <memory>
#include <stop_token>

#include "engine/backend/backend.h"
#include "engine/common/thread_pool.h"
#include "engine/quant/block_matrix.h"

namespace qllama::cpu {

// In place where the precision and the layout allow it; otherwise converted row by row on all
// threads into memory of our own, after which the file's pages are given back. Quantised and packed
// matrices are taken from `store` (may be null) if it has them, and put there otherwise.
Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                           ThreadPool& pool, BlockStore* store,
                                           std::stop_token stop);

// Whether a matrix that is quantised now must have its bytes at once, in memory of its own, or may lie
// where the store keeps it: see BlockStore::exchange().
enum class FirstRead { AtOnce, OnceModelIsKept };

// A quantised or packed matrix from `store` (may be null) if it has it; else made now, and kept there.
Result<BlockMatrix> findOrMake(const CatalogTensor& tensor, BlockFormat format, ThreadPool& pool,
                               BlockStore* store, FirstRead firstRead, std::stop_token stop);

// Maps the pages of a tensor that is used where it lies (isInPlace), on all threads: faulting them one
// by one would slow the first token. Not when they cannot all stay in memory. Ends early when it is stopped,
// within the 16 MiB a thread that it is at: from a disk a large matrix takes seconds.
void populate(const CatalogTensor& tensor, ThreadPool& pool, const std::stop_token& stop);

// Rounds a tensor of any float type, a tile at a time on all threads; the file's pages are given
// back as they are used up.
Result<BlockMatrix> quantizeTensor(const CatalogTensor& tensor, BlockFormat format,
                                   ThreadPool& pool, std::stop_token stop);
// The same without loss, of a tensor of the format's floats with at most kMostPackedColumns. One that
// cannot be packed is not made: see BlockMatrix::isMade().
Result<BlockMatrix> packTensor(const CatalogTensor& tensor, BlockFormat format, ThreadPool& pool,
                               std::stop_token stop);

}  // namespace qllama::cpu
