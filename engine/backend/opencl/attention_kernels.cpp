#include "engine/backend/opencl/attention_kernels.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace qllama::opencl {
namespace {

// CPU form: queries (rows x heads of a group) that share a widened chunk of keys and values. With 16
// the widening is a small part of the work and the sums of a head of 128 still fit the L1 cache.
constexpr std::int64_t kTileQueries = 16;

// Positions that are worth a work-group of their own.
constexpr std::int64_t kPositionsOfSplit = 256;
constexpr std::int64_t kMostSplits = 32;

// Work-groups for each compute unit that keep a device busy.
constexpr std::int64_t kCpuGroupsPerUnit = 2;
constexpr std::int64_t kGpuGroupsPerUnit = 4;

std::int64_t groupOf(const AttentionShape& shape) {
    return shape.headCount / shape.kvHeadCount;
}

std::int64_t rowsOfTile(const AttentionWork& work) {
    return work.n == 1 ? 1 : std::max<std::int64_t>(1, kTileQueries / groupOf(work.shape));
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
    if (queue.form() == KernelForm::Gpu) {
        // As many items as dimensions, so that both halves of the work keep them busy.
        while (kernels->m_local * 2 <= std::min(queue.largestWorkGroup(), std::int64_t{256}) &&
               kernels->m_local < std::max<std::int64_t>(headDim, 32))
            kernels->m_local *= 2;
        QLLAMA_TRY(
            kernels->m_gpu,
            queue.kernel("attention_gpu", "attention",
                         kernels->m_options + " -DLOCAL=" + std::to_string(kernels->m_local)));
    }
    return kernels;
}

Result<Kernel*> AttentionKernels::kernelFor(DeviceQueue& queue, const AttentionWork& work) {
    if (queue.form() == KernelForm::Gpu) return &m_gpu;
    const std::int64_t group = groupOf(work.shape);
    const std::int64_t rows = rowsOfTile(work);
    for (const auto& variant : m_cpu)
        if (variant->group == group && variant->rows == rows) return &variant->kernel;
    auto variant = std::make_unique<CpuVariant>();
    variant->group = group;
    variant->rows = rows;
    QLLAMA_TRY(variant->kernel, queue.kernel("attention_cpu", "attention",
                                             m_options + " -DGROUP=" + std::to_string(group) +
                                                 " -DROWS=" + std::to_string(rows)));
    m_cpu.push_back(std::move(variant));
    return &m_cpu.back()->kernel;
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

std::int64_t AttentionKernels::splitsFor(const DeviceQueue& queue,
                                         const AttentionWork& work) const {
    const bool cpu = queue.form() == KernelForm::Cpu;
    const std::int64_t rows = cpu ? rowsOfTile(work) : 1;
    const std::int64_t groups =
        (cpu ? work.shape.kvHeadCount : work.shape.headCount) * ((work.n + rows - 1) / rows);
    const std::int64_t wanted =
        queue.computeUnits() * (cpu ? kCpuGroupsPerUnit : kGpuGroupsPerUnit);
    const std::int64_t useful = (work.first + work.n + kPositionsOfSplit - 1) / kPositionsOfSplit;
    return std::clamp<std::int64_t>((wanted + groups - 1) / groups, 1,
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
                              std::int64_t splits) {
    const AttentionShape& shape = work.shape;
    const KvShape& kv = work.cache.shape();
    const float scale = 1.0F / std::sqrt(static_cast<float>(shape.headDim));
    const std::int64_t positionBytes = 2 * shape.headDim * ClKvCache::elementBytes(kv);
    const cl_int capacity = narrowed(ClKvCache::paddedCapacity(kv));
    const cl::Buffer& layer = work.cache.layer(work.layer);
    const std::int64_t seen = work.first + work.n;
    if (queue.form() == KernelForm::Cpu) {
        const std::int64_t tiles = (work.n + rowsOfTile(work) - 1) / rowsOfTile(work);
        queue.launch(kernel,
                     {cl::NDRange(sized(splits), sized(shape.kvHeadCount), sized(tiles)),
                      cl::NDRange(1, 1, 1)},
                     tiles * seen * shape.kvHeadCount * positionBytes, work.q, layer,
                     narrowed(shape.headCount), narrowed(shape.kvHeadCount), capacity,
                     narrowed(work.first), scale, narrowed(splits), work.out, m_partials,
                     narrowed(work.n));
        return;
    }
    queue.launch(kernel,
                 {cl::NDRange(sized(m_local * splits), sized(shape.headCount), sized(work.n)),
                  cl::NDRange(sized(m_local), 1, 1)},
                 work.n * seen * shape.headCount * positionBytes, work.q, layer,
                 narrowed(shape.headCount), narrowed(shape.kvHeadCount), capacity,
                 narrowed(work.first), scale, narrowed(splits), work.out, m_partials);
}

void AttentionKernels::attention(DeviceQueue& queue, const AttentionWork& work) {
    const std::int64_t splits = splitsFor(queue, work);
    const std::int64_t queries = work.n * work.shape.headCount;
    auto kernel = kernelFor(queue, work);
    if (!kernel.ok()) {
        queue.fail(kernel.error());
        return;
    }
    // The kernels want a buffer there even when it stays unused.
    if (!reservePartials(queue, splits == 1 ? 1 : queries * splits)) return;
    launch(queue, *kernel.value(), work, splits);
    if (splits == 1) return;
    queue.launch(m_merge, flatGrid(m_merge, queries * m_headDim),
                 queries * splits * (m_headDim + 2) * 4, m_partials, narrowed(splits),
                 narrowed(queries), work.out);
}

}  // namespace qllama::opencl
