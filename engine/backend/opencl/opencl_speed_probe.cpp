#include "engine/backend/opencl/opencl_speed_probe.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

namespace qllama::opencl {
namespace {

constexpr std::int64_t kVectorBytes = 16;
constexpr std::int64_t kSmallestBytes = std::int64_t{32} << 20;
constexpr std::int64_t kTimesTheCache = 4;
constexpr int kPasses = 3;

// CPU form: streams of a work-group.
constexpr int kStreamCounts[] = {1, 2, 4, 8};
constexpr std::int64_t kLineVectors = 4;
constexpr std::int64_t kMostStreams = 8;

// GPU form: items for each compute unit, in work-groups of 256; many more than run at a time gain
// nothing, too few leave the memory waiting.
constexpr std::int64_t kItemsAUnit[] = {1024, 2048, 4096};
constexpr std::int64_t kMostLocal = 256;

// Of fill_memory's words, 1 * c, 2 * c, ..., modulo 2^32.
std::uint32_t sumOfWords(std::int64_t vectors) {
    const auto words = static_cast<std::uint64_t>(vectors) * 4;
    const std::uint64_t sum =
        words % 2 == 0 ? words / 2 * (words + 1) : (words + 1) / 2 * words;  // modulo 2^64
    return static_cast<std::uint32_t>(sum) * 2654435761U;
}

}  // namespace

Result<std::unique_ptr<OpenClSpeedProbe>> OpenClSpeedProbe::create(DeviceQueue& queue,
                                                                   std::int64_t wantedBytes,
                                                                   const std::stop_token& stop) {
    if (stop.stop_requested()) return cancelledError();
    std::unique_ptr<OpenClSpeedProbe> probe(new OpenClSpeedProbe(queue));
    QLLAMA_CHECK(probe->preparePatterns());
    if (stop.stop_requested()) return cancelledError();
    QLLAMA_CHECK(probe->allocateBuffer(wantedBytes));
    QLLAMA_CHECK(probe->fill());
    return probe;
}

Result<void> OpenClSpeedProbe::preparePatterns() {
    const std::int64_t units = std::max<std::int64_t>(1, m_queue.computeUnits());
    std::int64_t mostItems = 0;
    if (m_queue.form() == KernelForm::Cpu) {
        for (const int streams : kStreamCounts) {
            Pattern pattern;
            QLLAMA_TRY(pattern.kernel, m_queue.kernel("read_memory_cpu", "read_memory",
                                                      "-DSTREAMS=" + std::to_string(streams)));
            pattern.items = units;
            pattern.grid = flatGrid(pattern.kernel, units, 1);
            m_patterns.push_back(std::move(pattern));
        }
        mostItems = units;
    } else {
        for (const std::int64_t each : kItemsAUnit) {
            Pattern pattern;
            QLLAMA_TRY(pattern.kernel, m_queue.kernel("read_memory_gpu", "read_memory", {}));
            pattern.items = units * each;
            pattern.grid = flatGrid(pattern.kernel, pattern.items, kMostLocal);
            pattern.items = static_cast<std::int64_t>(pattern.grid.global[0]);
            mostItems = std::max(mostItems, pattern.items);
            m_patterns.push_back(std::move(pattern));
        }
    }
    QLLAMA_TRY(m_sums, m_queue.allocate(mostItems * 4, true, "the bandwidth measurement"));
    return {};
}

Result<void> OpenClSpeedProbe::allocateBuffer(std::int64_t wantedBytes) {
    // Whole lines of every stream of every work-group.
    const std::int64_t multiple =
        std::max<std::int64_t>(1, m_queue.computeUnits()) * kMostStreams * kLineVectors;
    std::int64_t bytes = std::min(wantedBytes, m_queue.largestAllocation());
    while (true) {
        m_vectors = std::max<std::int64_t>(1, bytes / kVectorBytes / multiple) * multiple;
        auto data = m_queue.allocate(m_vectors * kVectorBytes, false, "the bandwidth measurement");
        if (data.ok()) {
            m_data = std::move(data).value();
            return {};
        }
        if (bytes / 2 < std::max(kSmallestBytes, kTimesTheCache * m_queue.cacheBytes()))
            return data.error();
        bytes /= 2;
    }
}

Result<void> OpenClSpeedProbe::fill() {
    const bool cpu = m_queue.form() == KernelForm::Cpu;
    QLLAMA_TRY(Kernel kernel, m_queue.kernel(cpu ? "read_memory_cpu" : "read_memory_gpu",
                                             "fill_memory", cpu ? "-DSTREAMS=1" : ""));
    m_queue.launch(kernel, m_patterns.front().grid, m_vectors * kVectorBytes, m_data,
                   static_cast<cl_ulong>(m_vectors));
    m_queue.finish();
    return m_queue.takeFailure();
}

Result<double> OpenClSpeedProbe::timePass(Pattern& pattern) {
    const std::int64_t bytes = m_vectors * kVectorBytes;
    const double ms = m_queue.time([&] {
        m_queue.launch(pattern.kernel, pattern.grid, bytes, m_data,
                       static_cast<cl_ulong>(m_vectors), m_sums);
    });
    std::vector<std::uint32_t> sums(static_cast<std::size_t>(pattern.items));
    m_queue.read(m_sums, 0, sums.data(), pattern.items * 4);
    QLLAMA_CHECK(m_queue.takeFailure());
    if (std::accumulate(sums.begin(), sums.end(), std::uint32_t{0}) != sumOfWords(m_vectors))
        return Error{ErrorCode::Device,
                     "The device reads other values from its memory than were written there.",
                     m_queue.text()};
    return static_cast<double>(bytes) / 1e6 / std::max(ms, std::numeric_limits<double>::min());
}

Result<double> OpenClSpeedProbe::measureGbPerSecond(const std::stop_token& stop) {
    double best = 0;
    for (int pass = 0; pass < kPasses; ++pass)
        for (Pattern& pattern : m_patterns) {
            if (stop.stop_requested()) return cancelledError();
            QLLAMA_TRY(const double gbPerSecond, timePass(pattern));
            best = std::max(best, gbPerSecond);
        }
    return best;
}

}  // namespace qllama::opencl
