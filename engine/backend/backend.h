// What a compute device does for the transformer: about a dozen coarse operations on buffers that
// live on the device. The forward pass is written once over this (model/transformer.cpp).
//
// Conventions: n is the number of positions handled together (1 in decode, many in prefill).
// Activations are f32, row-major [n, width]. Extents are 64-bit. Operations may be asynchronous but
// take effect in the order of the calls. They report nothing themselves: the first failure is kept
// and given out by read() or finish(), after which the backend must be discarded or its work redone.
// A backend and everything made by it belong to one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/backend/device.h"
#include "engine/backend/precision.h"
#include "engine/backend/speed_probe.h"
#include "engine/checkpoint/tensor_catalog.h"
#include "engine/common/result.h"
#include "engine/quant/block_store.h"

namespace qllama {

// f32 values on the device.
class Buffer {
public:
    virtual ~Buffer() = default;
};

// A weight matrix [rows, columns] in the precision it was loaded with; y = W x maps columns to rows.
class Matrix {
public:
    virtual ~Matrix() = default;
    [[nodiscard]] virtual std::int64_t rows() const = 0;
    [[nodiscard]] virtual std::int64_t columns() const = 0;
    [[nodiscard]] virtual std::int64_t sizeBytes() const = 0;  // read in one matrix-vector product
};

enum class KvPrecision { F16, F32 };

struct KvShape {
    std::int64_t layerCount = 0;  // of the range of layers that this device runs
    std::int64_t kvHeadCount = 0;
    std::int64_t headDim = 0;
    std::int64_t capacity = 0;  // positions
    KvPrecision precision = KvPrecision::F16;
    // Of queries, so that what attention needs is made ready now; 0 where that may wait.
    std::int64_t headCount = 0;
};

// Keys (already rotated) and values of past positions, for every layer of a range.
class KvCache {
public:
    virtual ~KvCache() = default;
};

struct AttentionShape {
    std::int64_t headCount = 0;
    std::int64_t kvHeadCount = 0;  // divides headCount
    std::int64_t headDim = 0;      // even
};

// out = W x, or out += W x: the residual additions ride along with the product before them.
struct MatmulTask {
    const Matrix* weight = nullptr;
    Buffer* out = nullptr;  // [n, weight->rows()]
    bool accumulate = false;
};

// What one kind of command cost in all; see Backend::takeProfile().
struct KernelTiming {
    std::string name;
    std::int64_t calls = 0;
    double ms = 0;
    std::int64_t bytes = 0;  // the least that the work must move
};

class Backend {
public:
    virtual ~Backend() = default;

    [[nodiscard]] virtual const DeviceInfo& device() const = 0;

    // Called once the matrices of a range of layers are loaded, but before quantised ones that were
    // exchanged (BlockStore) have their bytes: settles which variants of its kernels suit such
    // matrices on this device, by measuring where that is not known from an earlier run. Takes a
    // second at most, and compiling. Results do not depend on the outcome. Fails with Cancelled alone.
    virtual Result<void> tune(std::span<const Matrix* const>, std::stop_token) { return {}; }
    // What tune() settled, in sentences.
    [[nodiscard]] virtual std::vector<std::string> tuning() const { return {}; }

    // Memory. Failures: OutOfMemory, Device, Cancelled (polled within large tensors too).
    virtual Result<std::unique_ptr<Matrix>> loadMatrix(const CatalogTensor& tensor,
                                                       Precision precision,
                                                       std::stop_token stop) = 0;
    virtual Result<std::unique_ptr<Buffer>> loadVector(const CatalogTensor& tensor) = 0;
    virtual Result<std::unique_ptr<Buffer>> createBuffer(std::int64_t floatCount) = 0;
    virtual Result<std::unique_ptr<KvCache>> createKvCache(const KvShape& shape) = 0;

    // x[i, :] = row tokens[i] of `table`; the tokens are already known to be in range.
    virtual void embed(const Matrix& table, std::span<const std::int32_t> tokens, Buffer& x) = 0;

    // out[i, :] = x[firstRow + i, :] / sqrt(mean(x[firstRow + i, :]^2) + epsilon) * gain, for n rows
    // (arXiv:1910.07467)
    virtual void rmsNorm(const Buffer& x, std::int64_t firstRow, const Buffer& gain, float epsilon,
                         std::int64_t width, std::int64_t n, Buffer& out) = 0;

    // Every task reads the same x [n, columns]; no task's out is x.
    virtual void matmul(std::span<const MatmulTask> tasks, const Buffer& x, std::int64_t n) = 0;

    // Rotates q [n, heads * headDim] and k [n, kvHeads * headDim] for positions first .. first+n-1,
    // on interleaved pairs as Meta does (arXiv:2104.09864), then appends k and v to `layer` of the
    // cache. `rotations`: [positions, headDim / 2, 2], the cosine and sine of each angle.
    virtual void ropeAndStore(Buffer& q, Buffer& k, const Buffer& v, const Buffer& rotations,
                              const AttentionShape& shape, KvCache& cache, std::int64_t layer,
                              std::int64_t first, std::int64_t n) = 0;

    // Causal attention of q over positions 0 .. first+i for row i; out [n, heads * headDim].
    virtual void attention(const Buffer& q, const AttentionShape& shape, const KvCache& cache,
                           std::int64_t layer, std::int64_t first, std::int64_t n, Buffer& out) = 0;

    // gate = silu(gate) * up, [n, width]
    virtual void swiglu(Buffer& gate, const Buffer& up, std::int64_t width, std::int64_t n) = 0;

    // Copies between host and device, from or to element `first`. read() waits for everything
    // before it and returns the first failure since the last read() or finish().
    virtual Result<void> read(const Buffer& buffer, std::int64_t first, std::span<float> out) = 0;
    virtual Result<void> write(Buffer& buffer, std::int64_t first, std::span<const float> in) = 0;
    virtual Result<void> finish() = 0;

    // For this device, with as many threads as the backend has. Fails with OutOfMemory, Device, Cancelled.
    virtual Result<std::unique_ptr<SpeedProbe>> createSpeedProbe(const std::stop_token& stop) = 0;

    // Sums since the last call, the costliest first; empty for a backend that does not measure or
    // was not created with BackendOptions::profile.
    virtual std::vector<KernelTiming> takeProfile() { return {}; }
};

struct BackendOptions {
    int threadCount = 0;   // CPU: 0 = physical cores
    bool profile = false;  // OpenCL: time each kernel; costs a little
    // Where quantised and packed weights are kept, if anywhere; used by loadMatrix() alone.
    std::shared_ptr<BlockStore> store = {};
    // OpenCL: told the device's id when its kernels are about to be compiled, and "" afterwards; not
    // for those that an earlier run has left. Kept as long as the backend.
    std::function<void(const std::string& deviceId)> compiling = {};
};

// `deviceId` as in DeviceInfo::id. Never another device than the one named: an unknown or broken
// one is a Device error that lists what there is.
Result<std::unique_ptr<Backend>> createBackend(const std::string& deviceId,
                                               const BackendOptions& options);

}  // namespace qllama
