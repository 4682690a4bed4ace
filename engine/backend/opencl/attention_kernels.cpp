#include "engine/backend/opencl/attention_kernels.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace qllama::opencl {
namespace {

// Queries (rows x heads of a group) of a work-group. CPU form: widening the chunk of keys and values
// that they share is then a small part of the work, and the sums of a head of 128 still fit the L1
// cache. GPU form: a score and a sum for each fit an item's registers, and a query and its weights for
// a chunk local memory that several work-groups of a compute unit share.
constexpr std::int64_t kCpuTileQueries = 16;
constexpr std::int64_t kGpuTileQueries = 8;
constexpr std::int64_t kGpuLocalBytes = 16 << 10;

// GPU form: items for one query, which are few so that its positions make many chunks.
constexpr std::int64_t kTokenItems = 32;

// Positions that are worth a work-group of their own: on a GPU, those of one chunk.
constexpr std::int64_t kCpuPositionsOfSplit = 256;
constexpr std::int64_t kMostSplits = 64;

// Work-groups for each compute unit that keep a device busy.
constexpr std::int64_t kCpuGroupsPerUnit = 2;
constexpr std::int64_t kGpuGroupsPerUnit = 4;

std::int64_t groupOf(const AttentionShape& shape) {
    return shape.headCount / shape.kvHeadCount;
}

std::int64_t ceilDiv(std::int64_t value, std::int64_t divisor) {
    return (value + divisor - 1) / divisor;
}

cl_int narrowed(std::int64_t value) {
    return static_cast<cl_int>(value);
}

std::size_t sized(std::int64_t value) {
    return static_cast<std::size_t>(value);
}

}  // namespace

Result<std::unique_ptr<AttentionKernels>> AttentionKernels::compile(DeviceQueue& queue,
                                                                    std::int64_t headDim,
                                                                    KvPrecision precision) {
    auto kernels = std::make_unique<AttentionKernels>();
    kernels->m_headDim = headDim;
    kernels->m_precision = precision;
    kernels->m_options = "-DHEAD_DIM=" + std::to_string(headDim) +
                         " -DPADDED_DIM=" + std::to_string(ClKvCache::paddedDim(headDim)) +
                         " -DKV=" + (precision == KvPrecision::F16 ? "16" : "32");
    QLLAMA_TRY(kernels->m_ropeStore, queue.kernel("rope_store", "rope_store", kernels->m_options));
    QLLAMA_TRY(kernels->m_merge,
               queue.kernel("attention_merge", "attention_merge", kernels->m_options));
    kernels->m_form = queue.form();
    if (queue.form() == KernelForm::Gpu) {
        // As many items as dimensions, so that both halves of the work keep them busy.
        while (kernels->m_local * 2 <= std::min(queue.largestWorkGroup(), std::int64_t{256}) &&
               kernels->m_local < std::max<std::int64_t>(headDim, 32))
            kernels->m_local *= 2;
    }
    return kernels;
}

AttentionKernels::Tile AttentionKernels::tileFor(const DeviceQueue& queue, std::int64_t headCount,
                                                 std::int64_t group, std::int64_t positions,
                                                 std::int64_t n) const {
    // The sums of the CPU form lie in memory, which has room for any group.
    if (m_form == KernelForm::Cpu)
        return {group, n == 1 ? 1 : std::max<std::int64_t>(1, kCpuTileQueries / group), 1};
    Tile tile{.local = n == 1 ? std::min(m_local, kTokenItems) : m_local};
    const std::int64_t most = std::clamp<std::int64_t>(
        kGpuLocalBytes / ((m_headDim + tile.local) * 4), 1, kGpuTileQueries);
    tile.heads = std::min(group, most);
    while (group % tile.heads != 0)
        --tile.heads;
    // Sharing what is read pays once there are positions enough to keep the device busy all the same.
    if (n == 1 && headCount / tile.heads * ceilDiv(positions, tile.local) < wantedGroups(queue))
        tile.heads = 1;
    if (n > 1) tile.rows = most / tile.heads;
    return tile;
}

std::int64_t AttentionKernels::wantedGroups(const DeviceQueue& queue) const {
    return queue.computeUnits() *
           (m_form == KernelForm::Cpu ? kCpuGroupsPerUnit : kGpuGroupsPerUnit);
}

Result<Kernel*> AttentionKernels::kernelFor(DeviceQueue& queue, Tile tile) {
    for (const auto& variant : m_variants)
        if (variant->tile == tile) return &variant->kernel;
    auto variant = std::make_unique<Variant>();
    variant->tile = tile;
    QLLAMA_TRY(
        variant->kernel,
        queue.kernel(m_form == KernelForm::Gpu ? "attention_gpu" : "attention_cpu", "attention",
                     m_options + " -DHEADS=" + std::to_string(tile.heads) + " -DROWS=" +
                         std::to_string(tile.rows) + " -DLOCAL=" + std::to_string(tile.local)));
    m_variants.push_back(std::move(variant));
    return &m_variants.back()->kernel;
}

Result<void> AttentionKernels::prepare(DeviceQueue& queue, const KvShape& shape) {
    const std::int64_t group = shape.headCount / shape.kvHeadCount;
    for (const std::int64_t positions : {std::int64_t{1}, shape.capacity})
        for (const std::int64_t n : {1, 2})
            QLLAMA_CHECK(kernelFor(queue, tileFor(queue, shape.headCount, group, positions, n)));
    return {};
}

void AttentionKernels::ropeAndStore(DeviceQueue& queue, const RopeWork& work) {
    const AttentionShape& shape = work.shape;
    const std::int64_t slots = shape.headCount + 2 * shape.kvHeadCount;
    const std::int64_t items = work.n * slots * (shape.headDim / 2);
    queue.launch(m_ropeStore, flatGrid(m_ropeStore, items), items * 2 * 8, work.q, work.k, work.v,
                 work.rotations, work.cache.layer(work.layer), narrowed(shape.headCount),
                 narrowed(shape.kvHeadCount),
                 narrowed(ClKvCache::paddedCapacity(work.cache.shape())), narrowed(work.first),
                 narrowed(work.n));
}

std::int64_t AttentionKernels::splitsFor(const DeviceQueue& queue, const AttentionWork& work,
                                         Tile tile) const {
    const bool cpu = m_form == KernelForm::Cpu;
    const std::int64_t groups = work.shape.headCount / tile.heads * ceilDiv(work.n, tile.rows);
    const std::int64_t useful =
        ceilDiv(work.first + work.n, cpu ? kCpuPositionsOfSplit : tile.local);
    return std::clamp<std::int64_t>(ceilDiv(wantedGroups(queue), groups), 1,
                                    std::min(useful, kMostSplits));
}

bool AttentionKernels::reservePartials(DeviceQueue& queue, std::int64_t records) {
    if (records <= m_partialRecords) return true;
    const std::int64_t recordBytes = (ClKvCache::paddedDim(m_headDim) + 2) * 4;
    auto buffer = queue.allocate(records * recordBytes, false, "parts of the attention");
    if (!buffer.ok()) {
        queue.fail(buffer.error());
        return false;
    }
    m_partials = std::move(buffer).value();
    m_partialRecords = records;
    return true;
}

void AttentionKernels::launch(DeviceQueue& queue, Kernel& kernel, const AttentionWork& work,
                              Tile tile, std::int64_t splits) {
    const AttentionShape& shape = work.shape;
    const KvShape& kv = work.cache.shape();
    const float scale = 1.0F / std::sqrt(static_cast<float>(shape.headDim));
    const std::int64_t positionBytes = 2 * shape.headDim * ClKvCache::elementBytes(kv);
    const std::int64_t headBlocks = shape.headCount / tile.heads;
    const std::int64_t tiles = ceilDiv(work.n, tile.rows);
    const cl_int capacity = narrowed(ClKvCache::paddedCapacity(kv));
    queue.launch(kernel,
                 {cl::NDRange(sized(tile.local * splits), sized(headBlocks), sized(tiles)),
                  cl::NDRange(sized(tile.local), 1, 1)},
                 tiles * (work.first + work.n) * headBlocks * positionBytes, work.q,
                 work.cache.layer(work.layer), narrowed(shape.headCount),
                 narrowed(shape.kvHeadCount), capacity, narrowed(work.first), scale,
                 narrowed(splits), work.out, m_partials, narrowed(work.n));
}

void AttentionKernels::attention(DeviceQueue& queue, const AttentionWork& work) {
    const Tile tile =
        tileFor(queue, work.shape.headCount, groupOf(work.shape), work.first + work.n, work.n);
    const std::int64_t splits = splitsFor(queue, work, tile);
    const std::int64_t queries = work.n * work.shape.headCount;
    auto kernel = kernelFor(queue, tile);
    if (!kernel.ok()) {
        queue.fail(kernel.error());
        return;
    }
    // The kernels want a buffer there even when it stays unused.
    if (!reservePartials(queue, splits == 1 ? 1 : queries * splits)) return;
    launch(queue, *kernel.value(), work, tile, splits);
    if (splits == 1) return;
    queue.launch(m_merge, flatGrid(m_merge, queries * m_headDim),
                 queries * splits * (m_headDim + 2) * 4, m_partials, narrowed(splits),
                 narrowed(queries), work.out);
}

}  // namespace qllama::opencl
