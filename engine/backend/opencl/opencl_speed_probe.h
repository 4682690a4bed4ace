// The caller of read_memory: how fast a device reads its memory.
#pragma once

#include <memory>
#include <vector>

#include "engine/backend/opencl/device_queue.h"
#include "engine/backend/speed_probe.h"

namespace qllama::opencl {

// Borrows the queue.
class OpenClSpeedProbe final : public SpeedProbe {
public:
    // The buffer has `wantedBytes`, or what the device can still give, halved again and again but never
    // so small that the device's cache would hold much of it.
    // Fails with OutOfMemory, Device or Cancelled.
    static Result<std::unique_ptr<OpenClSpeedProbe>> create(DeviceQueue& queue,
                                                            std::int64_t wantedBytes,
                                                            const std::stop_token& stop);

    // The best of a few passes in each pattern. Checks that every word was read.
    [[nodiscard]] Result<double> measureGbPerSecond(const std::stop_token& stop) override;

    // Not known: which instructions a driver makes of a product is its own affair.
    [[nodiscard]] Result<std::optional<double>> measureMultiplyAdds(
        Precision, const std::stop_token&) override {
        return std::optional<double>();
    }

private:
    // A kernel and its work: how many streams a work-group reads, or how many items there are.
    struct Pattern {
        Kernel kernel;
        Grid grid;
        std::int64_t items = 0;
    };

    explicit OpenClSpeedProbe(DeviceQueue& queue) : m_queue(queue) {}
    Result<void> preparePatterns();
    Result<void> allocateBuffer(std::int64_t wantedBytes);
    Result<void> fill();
    Result<double> timePass(Pattern& pattern);

    DeviceQueue& m_queue;
    std::vector<Pattern> m_patterns;
    cl::Buffer m_data;
    cl::Buffer m_sums;
    std::int64_t m_vectors = 0;  // of 16 bytes
};

}  // namespace qllama::opencl
