#include "engine/backend/cpu/weight_loading.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/backend/cpu/cpu_matrix.h"
#include "engine/backend/cpu/kernels/quantize_kernels.h"
#include "engine/common/host_memory.h"
#include "engine/common/mapped_file.h"

namespace qllama::cpu {
namespace {

bool usableInPlace(const CatalogTensor& tensor, DType wanted) {
    if (!tensor.isInPlace() || tensor.dtype != wanted) return false;
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.parts.front().data());
    return address % static_cast<std::uintptr_t>(sizeOf(wanted)) == 0;
}

// readRow, by the vector kernel where the row lies in one piece.
void readRowFast(const CatalogTensor& tensor, std::int64_t row, std::span<float> out) {
    const std::int64_t columns = tensor.shape.back();
    if ((tensor.dtype != DType::F16 && tensor.dtype != DType::BF16) ||
        !usableInPlace(tensor, tensor.dtype))
        return tensor.readRow(row, out);
    widen(tensor.dtype,
          static_cast<const std::byte*>(tensor.parts.front().data()) +
              row * columns * sizeOf(tensor.dtype),
          columns, out.data());
}

void convertRow(const CatalogTensor& tensor, std::int64_t row, DType wanted, std::byte* target,
                std::vector<float>& wide) {
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    if (wanted == DType::F32) {
        readRowFast(tensor, row, {reinterpret_cast<float*>(target), columns});
        return;
    }
    wide.resize(columns);
    readRowFast(tensor, row, wide);
    narrow(wanted, wide.data(), static_cast<std::int64_t>(columns),
           reinterpret_cast<std::uint16_t*>(target));
}

// How much of a mapped tensor is read before its pages are given back.
constexpr std::int64_t kBandBytes = std::int64_t{16} << 20;

// Calls step(index) for each of `count` equal portions of the tensor on all threads until done or
// stopped; gives the file's pages back as it goes.
template <typename MakeStep>
Result<void> forEachPortion(const CatalogTensor& tensor, std::int64_t count, ThreadPool& pool,
                            const std::stop_token& stop, const MakeStep& makeStep) {
    const std::int64_t bands = std::clamp<std::int64_t>(tensor.sizeBytes() / kBandBytes, 1, count);
    for (std::int64_t band = 0; band < bands; ++band) {
        std::atomic<std::int64_t> next{count * band / bands};
        const std::int64_t end = count * (band + 1) / bands;
        pool.run([&](int) {
            auto step = makeStep();
            for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < end;) {
                if (stop.stop_requested()) return;
                step(i);
            }
        });
        tensor.releasePages();
        if (stop.stop_requested()) return cancelledError();
    }
    return {};
}

Result<std::unique_ptr<Matrix>> loadRows(const CatalogTensor& tensor, DType wanted,
                                         ThreadPool& pool, const std::stop_token& stop) {
    const std::int64_t rows = tensor.shape.front();
    const std::int64_t columns = tensor.shape.back();
    if (usableInPlace(tensor, wanted)) {
        const StoredTensor& part = tensor.parts.front();
        populate(tensor, pool, stop);
        if (stop.stop_requested()) return cancelledError();
        return std::unique_ptr<Matrix>(std::make_unique<RowMatrix>(
            RowMajorWeights{wanted, part.data(), rows, columns}, part.storage.owner));
    }
    const std::int64_t rowBytes = columns * sizeOf(wanted);
    QLLAMA_TRY(auto memory, HostMemory::allocate(rows * rowBytes, true, "the weights"));
    QLLAMA_CHECK(forEachPortion(tensor, rows, pool, stop, [&] {
        return [&, wide = std::vector<float>()](std::int64_t row) mutable {
            convertRow(tensor, row, wanted, memory->data() + row * rowBytes, wide);
        };
    }));
    return std::unique_ptr<Matrix>(std::make_unique<RowMatrix>(
        RowMajorWeights{wanted, memory->data(), rows, columns}, memory));
}

// A matrix to be filled, in memory of its own.
struct NewMatrix {
    NewMatrix(const CatalogTensor& tensor, BlockFormat format) {
        matrix.format = format;
        matrix.rows = tensor.shape.front();
        matrix.columns = tensor.shape.back();
    }
    Result<void> allocate() {
        QLLAMA_TRY(auto memory, HostMemory::allocate(matrix.sizeBytes(), true, "the weights"));
        bytes = memory->data();
        matrix.placeAt(bytes, std::move(memory));
        return {};
    }
    [[nodiscard]] std::byte* tile(std::int64_t index) const {
        return bytes + index * matrix.tileBytes();
    }
    [[nodiscard]] float* rowFactors() const {
        return reinterpret_cast<float*>(bytes + matrix.rowFactorsOffset());
    }

    BlockMatrix matrix;
    std::byte* bytes = nullptr;
};

// Of a tensor of 16-bit floats: where it lies, or in `bits` if it lies in several pieces.
std::span<const std::uint16_t> bitsOfRow(const CatalogTensor& tensor, std::int64_t row,
                                         std::vector<std::uint16_t>& bits,
                                         std::vector<float>& wide) {
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    if (usableInPlace(tensor, tensor.dtype))
        return {reinterpret_cast<const std::uint16_t*>(tensor.parts.front().data()) +
                    static_cast<std::size_t>(row) * columns,
                columns};
    bits.resize(columns);
    wide.resize(columns);
    tensor.readRow(row, wide);
    // Not rounded: of a NaN all bits.
    const auto bitsOfBf16 = [](float value) {
        return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
    };
    const auto bitsOfF16 = [](float value) {
        if (!std::isnan(value)) return floatToHalf(value);
        const auto wideBits = std::bit_cast<std::uint32_t>(value);
        return static_cast<std::uint16_t>((wideBits >> 16 & 0x8000U) | 0x7C00U |
                                          (wideBits >> 13 & 0x3FFU));
    };
    if (tensor.dtype == DType::BF16)
        std::transform(wide.begin(), wide.end(), bits.begin(), bitsOfBf16);
    else
        std::transform(wide.begin(), wide.end(), bits.begin(), bitsOfF16);
    return bits;
}

void putExceptions(const std::vector<std::vector<PackedException>>& exceptions, NewMatrix& made) {
    auto* ends = reinterpret_cast<std::uint32_t*>(made.bytes + made.matrix.exceptionsOffset());
    auto* all = reinterpret_cast<PackedException*>(ends + exceptions.size());
    std::uint32_t count = 0;
    for (std::size_t row = 0; row < exceptions.size(); ++row) {
        std::copy(exceptions[row].begin(), exceptions[row].end(), all + count);
        ends[row] = count += static_cast<std::uint32_t>(exceptions[row].size());
    }
}

// Reads the rows of one tile as f32 into panel [16][stride], zero where there are none.
void readPanel(const CatalogTensor& tensor, std::int64_t tile, std::int64_t stride,
               std::vector<float>& panel) {
    const auto columns = static_cast<std::size_t>(tensor.shape.back());
    for (std::int64_t lane = 0; lane < kTileRows; ++lane) {
        const std::span<float> row(panel.data() + lane * stride, static_cast<std::size_t>(stride));
        const std::int64_t index = tile * kTileRows + lane;
        if (index < tensor.shape.front()) {
            readRowFast(tensor, index, row.first(columns));
            std::fill(row.begin() + static_cast<std::ptrdiff_t>(columns), row.end(), 0.0F);
        } else {
            std::fill(row.begin(), row.end(), 0.0F);
        }
    }
}

}  // namespace

Result<BlockMatrix> quantizeTensor(const CatalogTensor& tensor, BlockFormat format,
                                   ThreadPool& pool, std::stop_token stop) {
    NewMatrix made(tensor, format);
    QLLAMA_CHECK(made.allocate());
    const BlockMatrix& matrix = made.matrix;
    const bool hasFactors = infoOf(format).hasRowFactors;
    const std::int64_t stride = matrix.blocksPerRow() * kBlockColumns;
    QLLAMA_CHECK(forEachPortion(tensor, matrix.tileCount(), pool, stop, [&] {
        return [&, panel = std::vector<float>(static_cast<std::size_t>(kTileRows * stride))](
                   std::int64_t tile) mutable {
            readPanel(tensor, tile, stride, panel);
            quantizeTile(format, panel.data(), stride, matrix.columns, made.tile(tile),
                         hasFactors ? made.rowFactors() + tile * kTileRows : nullptr);
        };
    }));
    return std::move(made.matrix);
}

Result<BlockMatrix> packTensor(const CatalogTensor& tensor, BlockFormat format, ThreadPool& pool,
                               std::stop_token stop) {
    NewMatrix made(tensor, format);
    QLLAMA_CHECK(made.allocate());
    const BlockMatrix& matrix = made.matrix;
    const bool hasFactors = infoOf(format).hasRowFactors;
    std::vector<std::vector<PackedException>> exceptions(
        static_cast<std::size_t>(matrix.tileCount() * kTileRows));
    std::atomic<std::int64_t> count{0};  // of exceptions; with too many there is no use of going on
    QLLAMA_CHECK(forEachPortion(tensor, matrix.rows, pool, stop, [&] {
        return [&, packed = PackedRow(), bits = std::vector<std::uint16_t>(),
                wide = std::vector<float>()](std::int64_t row) mutable {
            if (count > matrix.mostExceptions()) return;
            packRow(format, bitsOfRow(tensor, row, bits, wide),
                    made.bytes + row * matrix.rowBytes(), packed);
            if (hasFactors) made.rowFactors()[row] = packed.factor;
            count += packed.isWhole ? static_cast<std::int64_t>(packed.exceptions.size())
                                    : matrix.mostExceptions() + 1;
            exceptions[static_cast<std::size_t>(row)] = packed.exceptions;
        };
    }));
    if (count > matrix.mostExceptions()) return NewMatrix(tensor, format).matrix;
    putExceptions(exceptions, made);
    return std::move(made.matrix);
}

Result<BlockMatrix> findOrMake(const CatalogTensor& tensor, BlockFormat format, ThreadPool& pool,
                               BlockStore* store, FirstRead firstRead, std::stop_token stop) {
    if (store != nullptr)
        if (auto found =
                store->find(tensor.name, format, tensor.shape.front(), tensor.shape.back()))
            return *std::move(found);
    QLLAMA_TRY(BlockMatrix matrix, infoOf(format).hasExceptions
                                       ? packTensor(tensor, format, pool, std::move(stop))
                                       : quantizeTensor(tensor, format, pool, std::move(stop)));
    if (store == nullptr) return matrix;
    if (firstRead == FirstRead::AtOnce) {
        store->keep(tensor.name, matrix);
    } else if (auto copy = store->exchange(tensor.name, matrix)) {
        return *std::move(copy);
    }
    return matrix;
}

void populate(const CatalogTensor& tensor, ThreadPool& pool, const std::stop_token& stop) {
    constexpr std::size_t kPiece = std::size_t{16} << 20;
    const StoredTensor& part = tensor.parts.front();
    if (!part.storage.mapping) return;
    const std::span bytes(static_cast<const std::byte*>(part.data()),
                          static_cast<std::size_t>(tensor.sizeBytes()));
    const std::size_t share = bytes.size() / static_cast<std::size_t>(pool.threadCount()) + 1;
    pool.run([&](int worker) {
        const std::size_t first = std::min(bytes.size(), share * static_cast<std::size_t>(worker));
        auto mine = bytes.subspan(first, std::min(share, bytes.size() - first));
        while (!mine.empty() && !stop.stop_requested()) {
            const std::size_t piece = std::min(kPiece, mine.size());
            part.storage.mapping->populate(mine.first(piece));
            mine = mine.subspan(piece);
        }
    });
}

Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor, Precision precision,
                                           ThreadPool& pool, BlockStore* store,
                                           std::stop_token stop) {
    const auto rowType = rowDType(precision, tensor.dtype);
    const auto format =
        madeFormat(precision, tensor.dtype, tensor.shape.front(), tensor.shape.back());
    if (!format) return loadRows(tensor, *rowType, pool, stop);
    QLLAMA_TRY(BlockMatrix matrix,
               findOrMake(tensor, *format, pool, store, FirstRead::OnceModelIsKept, stop));
    if (!matrix.isMade()) return loadRows(tensor, *rowType, pool, stop);
    if (infoOf(*format).hasExceptions)
        return std::unique_ptr<Matrix>(std::make_unique<PackedMatrix>(std::move(matrix)));
    return std::unique_ptr<Matrix>(std::make_unique<TileMatrix>(std::move(matrix)));
}

}  // namespace qllama::cpu
