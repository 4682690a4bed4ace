#include "engine/backend/opencl/matrix_kernels.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

#include "engine/backend/cpu/weight_loading.h"

namespace qllama::opencl {
namespace {

constexpr std::int64_t kUploadBytes = std::int64_t{16}
                                      << 20;  // between two looks at the stop token

constexpr const char* kWhat = "the weights";

constexpr std::int64_t kMatvecMatrices = 3;  // that one launch takes

// Of weights, as matvec_float_gpu.cl reads them; OpenCL's own memory is aligned to more.
constexpr std::uintptr_t kGpuFormAlignment = 16;

// How many items share a row's sum, whatever the plan: enough that the rows of a small matrix keep the
// memory of a large GPU busy.
constexpr std::int64_t kTeam = 64;
constexpr std::int64_t kPartsOfQ8 = 128;
constexpr std::int64_t kPartsOfQ4 = 64;

std::int64_t largestPowerOfTwo(std::int64_t limit) {
    std::int64_t power = 1;
    while (power * 2 <= limit)
        power *= 2;
    return power;
}

cl::NDRange range(std::int64_t a) {
    return cl::NDRange(static_cast<std::size_t>(a));
}

cl::NDRange range(std::int64_t a, std::int64_t b) {
    return {static_cast<std::size_t>(a), static_cast<std::size_t>(b)};
}

cl_int narrowed(std::int64_t value) {
    return static_cast<cl_int>(value);
}

// One piece of a task's matrix.
struct Segment {
    const ClMatrix* matrix = nullptr;
    const MatrixPiece* piece = nullptr;
    const MatmulTask* task = nullptr;
};

std::vector<Segment> segmentsOf(std::span<const MatmulTask> tasks) {
    std::vector<Segment> segments;
    for (const MatmulTask& task : tasks) {
        const auto& matrix = static_cast<const ClMatrix&>(*task.weight);
        for (const MatrixPiece& piece : matrix.pieces())
            segments.push_back({&matrix, &piece, &task});
    }
    return segments;
}

const WeightFormat& formatOf(const Segment& segment) {
    return *segment.matrix->kernels().format;
}

Grid matvecGrid(const DeviceQueue& queue, const WeightKernels& kernels, std::int64_t tiles) {
    const MatvecPlan& plan = kernels.matvecPlan;
    if (queue.form() == KernelForm::Cpu) {
        const std::int64_t steps = (tiles + plan.rows - 1) / plan.rows;
        return {range(std::min(steps, queue.computeUnits() * plan.groups)), range(1)};
    }
    const std::int64_t step = stepOf(plan, kernels.limits);
    const std::int64_t groups = (tiles + step - 1) / step;
    const std::int64_t items = itemsOf(plan, kernels.limits);
    return {range(groups * items), range(items)};
}

// Up to three pieces of the same format in one launch.
void launchMatvec(DeviceQueue& queue, std::span<const Segment> segments, const cl::Buffer& x) {
    std::array<const Segment*, kMatvecMatrices> three{};
    std::array<cl_int, kMatvecMatrices> rows{};
    std::array<cl_int, kMatvecMatrices> first{};
    cl_int accumulate = 0;
    std::int64_t tiles = 0;
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < three.size(); ++i) {
        three[i] = &segments[std::min(i, segments.size() - 1)];
        if (i >= segments.size()) continue;
        rows[i] = narrowed(three[i]->piece->rows);
        first[i] = narrowed(three[i]->piece->firstRow);
        if (three[i]->task->accumulate) accumulate |= 1 << i;
        tiles += three[i]->matrix->kernels().format->tilesIn(rows[i]);
        bytes += three[i]->matrix->bytesOf(rows[i]) + std::int64_t{rows[i]} * 4;
    }
    const ClMatrix& matrix = *segments.front().matrix;
    const auto out = [&three](std::size_t i) -> const cl::Buffer& {
        return memoryOf(*three[i]->task->out);
    };
    queue.launch(matrix.kernels().matvec, matvecGrid(queue, matrix.kernels(), tiles),
                 bytes + matrix.columns() * 4, three[0]->piece->memory, three[1]->piece->memory,
                 three[2]->piece->memory, rows[0], rows[1], rows[2], out(0), out(1), out(2),
                 first[0], first[1], first[2], accumulate, narrowed(matrix.columns()), x);
}

void launchMatmul(DeviceQueue& queue, const Segment& segment, const cl::Buffer& x, std::int64_t n) {
    const ClMatrix& matrix = *segment.matrix;
    WeightKernels& kernels = matrix.kernels();
    const std::int64_t rows = segment.piece->rows;
    Grid grid;
    if (queue.form() == KernelForm::Cpu) {
        const std::int64_t tile = formatOf(segment).tileRows;
        const std::int64_t panel = tile > 1 ? tile : 2 * queue.vectorLanes();
        grid = {range((rows + panel - 1) / panel), range(1)};
    } else {
        const std::int64_t side = kernels.matmulPlan.side;
        const std::int64_t tileRows = side * kernels.matmulPlan.each;
        const std::int64_t tileTokens = side * kernels.matmulPlan.tokens;
        grid = {range((rows + tileRows - 1) / tileRows * side,
                      (n + tileTokens - 1) / tileTokens * side),
                range(side, side)};
    }
    queue.launch(kernels.matmul, grid, matrix.bytesOf(rows) + n * (rows + matrix.columns()) * 4,
                 segment.piece->memory, narrowed(rows), narrowed(matrix.columns()), x, narrowed(n),
                 memoryOf(*segment.task->out), narrowed(matrix.rows()),
                 narrowed(segment.piece->firstRow), cl_int{segment.task->accumulate});
}

// Rows [first, first + count) in the format's type, on all cores.
void pack(const WeightFormat& format, const CatalogTensor& tensor, std::int64_t first,
          std::int64_t count, ThreadPool& pool, std::byte* target) {
    const std::int64_t rowBytes = format.tileBytes(tensor.shape.back());
    std::atomic<std::int64_t> next{0};
    pool.run([&](int) {
        std::vector<float> wide;
        for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;)
            packRow(format, tensor, first + i, target + i * rowBytes, wide);
    });
}

// A block at a time.
Result<void> upload(DeviceQueue& queue, const cl::Buffer& memory, std::int64_t offset,
                    const std::byte* source, std::int64_t sizeBytes, const std::stop_token& stop) {
    for (std::int64_t done = 0; done < sizeBytes && !queue.failed(); done += kUploadBytes) {
        if (stop.stop_requested()) return cancelledError();
        queue.fill(memory, offset + done, source + done, std::min(kUploadBytes, sizeBytes - done));
    }
    return queue.takeFailure();
}

// Rows that the file has in another type.
Result<void> convert(DeviceQueue& queue, const WeightFormat& format, const CatalogTensor& tensor,
                     const MatrixPiece& piece, const LoadContext& context) {
    const std::int64_t rowBytes = format.tileBytes(tensor.shape.back());
    const std::int64_t block = std::max<std::int64_t>(1, kUploadBytes / rowBytes);
    std::vector<std::byte> staged;
    for (std::int64_t done = 0; done < piece.rows && !queue.failed(); done += block) {
        if (context.stop.stop_requested()) return cancelledError();
        const std::int64_t count = std::min(block, piece.rows - done);
        staged.resize(static_cast<std::size_t>(count * rowBytes));
        pack(format, tensor, piece.firstRow + done, count, context.pool, staged.data());
        queue.fill(piece.memory, done * rowBytes, staged.data(), count * rowBytes);
    }
    return queue.takeFailure();
}

// Whole tiles that each fit into one allocation.
std::vector<MatrixPiece> piecesOf(const MatrixFacts& facts, std::int64_t largestAllocation) {
    const std::int64_t rowsOfPiece =
        std::max<std::int64_t>(1, largestAllocation / facts.tileBytes) * facts.tileRows;
    std::vector<MatrixPiece> pieces;
    for (std::int64_t row = 0; row < facts.rows; row += rowsOfPiece)
        pieces.push_back({{}, row, std::min(rowsOfPiece, facts.rows - row)});
    return pieces;
}

// The processor itself reads rows where the file is mapped. The GPU form wants them aligned.
bool canBorrow(const DeviceQueue& queue, const std::byte* data) {
    return queue.info().isHostProcessor &&
           (queue.form() == KernelForm::Cpu ||
            reinterpret_cast<std::uintptr_t>(data) % kGpuFormAlignment == 0);
}

Result<std::unique_ptr<Matrix>> loadRows(DeviceQueue& queue, WeightKernels& kernels,
                                         const CatalogTensor& tensor, const MatrixFacts& facts,
                                         const LoadContext& context) {
    const WeightFormat& format = *kernels.format;
    const bool asStored = tensor.dtype == format.dtype && tensor.isInPlace();
    const std::byte* const data = asStored ? tensor.parts.front().data() : nullptr;
    const bool borrowed = asStored && canBorrow(queue, data);
    if (borrowed) cpu::populate(tensor, context.pool, context.stop);
    auto pieces = piecesOf(facts, queue.largestAllocation());
    for (MatrixPiece& piece : pieces) {
        if (context.stop.stop_requested()) return cancelledError();
        const std::int64_t offset = piece.firstRow * facts.tileBytes;
        const std::int64_t bytes = piece.rows * facts.tileBytes;
        if (borrowed) {
            QLLAMA_TRY(piece.memory, queue.borrow(data + offset, bytes, kWhat));
            continue;
        }
        QLLAMA_TRY(piece.memory, queue.allocate(bytes, false, kWhat));
        QLLAMA_CHECK(asStored ? upload(queue, piece.memory, 0, data + offset, bytes, context.stop)
                              : convert(queue, format, tensor, piece, context));
    }
    if (!borrowed) tensor.releasePages();
    return std::unique_ptr<Matrix>(
        std::make_unique<ClMatrix>(facts, &kernels, std::move(pieces),
                                   borrowed ? tensor.parts.front().storage.owner : nullptr));
}

Result<std::unique_ptr<Matrix>> loadTiles(DeviceQueue& queue, WeightKernels& kernels,
                                          const CatalogTensor& tensor, const MatrixFacts& facts,
                                          const LoadContext& context) {
    QLLAMA_TRY(const BlockMatrix matrix,
               cpu::findOrMake(tensor, *kernels.format->quant, context.pool, context.store,
                               cpu::FirstRead::AtOnce, context.stop));
    auto pieces = piecesOf(facts, queue.largestAllocation());
    // Of several pieces each wants its own factors behind its tiles.
    const std::int64_t factorBytes = facts.tileBytes - matrix.tileBytes();
    const auto* const factors = reinterpret_cast<const std::byte*>(matrix.rowFactors);
    const bool borrowed =
        queue.info().isHostProcessor &&
        (factorBytes == 0 || (pieces.size() == 1 && factors == matrix.tiles + matrix.tilesBytes()));
    for (MatrixPiece& piece : pieces) {
        const std::int64_t first = piece.firstRow / kTileRows;
        const std::int64_t count = kernels.format->tilesIn(piece.rows);
        const std::byte* const tiles = matrix.tiles + first * matrix.tileBytes();
        const std::int64_t tilesBytes = count * matrix.tileBytes();
        if (borrowed) {
            QLLAMA_TRY(piece.memory, queue.borrow(tiles, count * facts.tileBytes, kWhat));
            continue;
        }
        QLLAMA_TRY(piece.memory, queue.allocate(count * facts.tileBytes, false, kWhat));
        QLLAMA_CHECK(upload(queue, piece.memory, 0, tiles, tilesBytes, context.stop));
        QLLAMA_CHECK(upload(queue, piece.memory, tilesBytes, factors + first * factorBytes,
                            count * factorBytes, context.stop));
    }
    return std::unique_ptr<Matrix>(std::make_unique<ClMatrix>(facts, &kernels, std::move(pieces),
                                                              borrowed ? matrix.owner : nullptr));
}

std::string fileOf(const char* product, const WeightKernels& kernels) {
    return product + std::string(kernels.format->family) +
           (kernels.limits.form == KernelForm::Cpu ? "_cpu" : "_gpu");
}

PlanLimits limitsOf(const DeviceQueue& queue, const WeightFormat& format) {
    PlanLimits limits{.form = queue.form(),
                      .tileRows = format.tileRows,
                      .lanes = queue.vectorLanes(),
                      .largestWorkGroup = queue.largestWorkGroup()};
    const std::int64_t most = largestPowerOfTwo(queue.largestWorkGroup());
    limits.team = std::min(most, kTeam);
    limits.parts = std::min(most / 4, format.quant == BlockFormat::Q8 ? kPartsOfQ8 : kPartsOfQ4);
    return limits;
}

}  // namespace

std::string matvecFile(const WeightKernels& kernels) {
    return fileOf("matvec_", kernels);
}

std::string matmulFile(const WeightKernels& kernels) {
    return fileOf("matmul_", kernels);
}

Result<void> usePlan(DeviceQueue& queue, const MatvecPlan& plan, WeightKernels& kernels) {
    const std::string options = optionsOf(plan, kernels.limits);
    if (kernels.matvec.name.empty() || options != optionsOf(kernels.matvecPlan, kernels.limits)) {
        QLLAMA_TRY(kernels.matvec,
                   queue.kernel(matvecFile(kernels), "matvec", kernels.options + options));
    }
    kernels.matvecPlan = plan;
    return {};
}

Result<void> usePlan(DeviceQueue& queue, const MatmulPlan& plan, WeightKernels& kernels) {
    const std::string options = optionsOf(plan, kernels.limits);
    if (kernels.matmul.name.empty() || options != optionsOf(kernels.matmulPlan, kernels.limits)) {
        QLLAMA_TRY(kernels.matmul,
                   queue.kernel(matmulFile(kernels), "matmul", kernels.options + options));
    }
    kernels.matmulPlan = plan;
    return {};
}

Result<std::unique_ptr<WeightKernels>> compileWeightKernels(DeviceQueue& queue,
                                                            const WeightFormat& format) {
    auto kernels = std::make_unique<WeightKernels>();
    kernels->format = &format;
    kernels->options = format.options;
    QLLAMA_TRY(kernels->embed,
               queue.kernel("embed_" + std::string(format.family), "embed", kernels->options));
    kernels->limits = limitsOf(queue, format);
    const MatvecPlan plan = matvecPlans(kernels->limits).front();
    // The instructions that dot_bytes_gpu.clh names are not those of every device that knows the names.
    if (format.quant && !usePlan(queue, plan, *kernels).ok()) kernels->options += " -DPLAIN_BYTES";
    QLLAMA_CHECK(usePlan(queue, plan, *kernels));
    QLLAMA_CHECK(usePlan(queue, matmulPlans(kernels->limits).front(), *kernels));
    return kernels;
}

Result<std::unique_ptr<Matrix>> loadMatrix(DeviceQueue& queue, WeightKernels& kernels,
                                           const CatalogTensor& tensor,
                                           const LoadContext& context) {
    const WeightFormat& format = *kernels.format;
    const MatrixFacts facts{.rows = tensor.shape.front(),
                            .columns = tensor.shape.back(),
                            .tileRows = format.tileRows,
                            .tileBytes = format.tileBytes(tensor.shape.back())};
    return format.quant ? loadTiles(queue, kernels, tensor, facts, context)
                        : loadRows(queue, kernels, tensor, facts, context);
}

void embed(DeviceQueue& queue, const ClMatrix& table, const cl::Buffer& tokens, std::int64_t n,
           const cl::Buffer& x) {
    for (const MatrixPiece& piece : table.pieces())
        queue.launch(table.kernels().embed, {range(table.columns(), n)},
                     n * (table.bytesOf(1) + table.columns() * 4), piece.memory,
                     narrowed(piece.firstRow), narrowed(piece.rows), narrowed(table.columns()),
                     tokens, x);
}

void multiply(DeviceQueue& queue, ActivationRounding* rounding, std::span<const MatmulTask> tasks,
              const cl::Buffer& x, std::int64_t n) {
    const std::vector<Segment> segments = segmentsOf(tasks);
    const cl::Buffer* rounded = nullptr;
    for (const Segment& segment : segments) {
        if (rounded != nullptr || !formatOf(segment).quant) continue;
        rounded = rounding->round(queue, x, segment.matrix->columns(), n);
        if (rounded == nullptr) return;
    }
    const auto inputOf = [&](const Segment& segment) -> const cl::Buffer& {
        return formatOf(segment).quant ? *rounded : x;
    };
    if (n != 1) {
        for (const Segment& segment : segments)
            launchMatmul(queue, segment, inputOf(segment), n);
        return;
    }
    for (std::size_t begin = 0; begin < segments.size();) {
        std::size_t end = begin + 1;
        while (end < segments.size() && end - begin < kMatvecMatrices &&
               &segments[end].matrix->kernels() == &segments[begin].matrix->kernels())
            ++end;
        launchMatvec(queue, std::span(segments).subspan(begin, end - begin),
                     inputOf(segments[begin]));
        begin = end;
    }
}

}  // namespace qllama::opencl
