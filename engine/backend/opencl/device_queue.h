// One device's context and in-order queue: every allocation and every command goes through here, so
// that failures are met, timed and injected in one place.
//
// Functions that allocate return a Result. Commands keep the first failure, and do nothing once
// there is one, until takeFailure().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/opencl/cl.h"
#include "engine/backend/opencl/discovery.h"
#include "engine/backend/opencl/fault_injection.h"
#include "engine/backend/opencl/kernel_plans.h"
#include "engine/backend/opencl/status.h"

namespace qllama::opencl {

struct Kernel {
    std::string name;
    cl::Kernel kernel;
    std::int64_t largestWorkGroup =
        1;  // a kernel that needs many registers may have less than others
};

// Work items in all and in a work-group, for each axis.
struct Grid {
    cl::NDRange global;
    cl::NDRange local = cl::NullRange;
};

// For kernels that take work-groups of any size: `items` rounded up to groups as large as the kernel may
// have, but of `mostLocal` items at most.
Grid flatGrid(const Kernel& kernel, std::int64_t items, std::int64_t mostLocal = 256);

class DeviceQueue {
public:
    struct Options {
        KernelForm form = KernelForm::Gpu;
        bool profile = false;
        std::string kernelOptions = {};                          // see OpenClOptions
        int vectorLanes = 0;                                     // 0: what the device says
        bool hostMemory = true;                                  // see OpenClOptions
        std::function<void(const std::string&)> compiling = {};  // see BackendOptions
    };

    // Throws cl::Error.
    DeviceQueue(const FoundDevice& device, const Options& options);
    ~DeviceQueue();
    DeviceQueue(const DeviceQueue&) = delete;
    DeviceQueue& operator=(const DeviceQueue&) = delete;

    [[nodiscard]] const DeviceInfo& info() const { return m_info; }
    [[nodiscard]] const std::string& text() const { return m_text; }  // "opencl:0 (NAME)"
    [[nodiscard]] KernelForm form() const { return m_form; }
    [[nodiscard]] std::int64_t largestAllocation() const { return m_largestAllocation; }
    [[nodiscard]] std::int64_t largestWorkGroup() const { return m_largestWorkGroup; }
    [[nodiscard]] std::int64_t computeUnits() const { return m_info.computeUnits; }
    [[nodiscard]] int vectorLanes() const { return m_vectorLanes; }
    [[nodiscard]] std::int64_t cacheBytes() const;  // of global memory; 0 if the device has none
    // For compiling kernels whose divisions must round correctly, where the device can.
    [[nodiscard]] std::string exactDivision() const;

    // `what` names the purpose ("the KV cache"). Zeroed: the memory is really there afterwards;
    // some drivers only then notice that it is not.
    Result<cl::Buffer> allocate(std::int64_t sizeBytes, bool zeroed, const std::string& what);
    // Memory of the host's that the device may read as it lies. The caller keeps it alive.
    Result<cl::Buffer> borrow(const std::byte* data, std::int64_t sizeBytes,
                              const std::string& what);

    // The kernel of that name in the file of that name, compiled with `options` besides the usual.
    Result<Kernel> kernel(const std::string& file, const std::string& name,
                          const std::string& options);

    // `bytes`: the least that the work must move, for the profile.
    template <typename... Arguments>
    void launch(Kernel& kernel, const Grid& grid, std::int64_t bytes,
                const Arguments&... arguments) {
        command("running " + kernel.name, [&](cl::Event* event) {
            cl_uint index = 0;
            (kernel.kernel.setArg(index++, arguments), ...);
            m_queue.enqueueNDRangeKernel(kernel.kernel, cl::NullRange, grid.global, grid.local,
                                         nullptr, event);
            note(kernel.name, bytes, event);
        });
    }

    // Offsets and sizes in bytes; all wait until the copy is done.
    void write(const cl::Buffer& buffer, std::int64_t offset, const void* data, std::int64_t size);
    // The same for memory that was just allocated: some drivers find only now that there is none.
    void fill(const cl::Buffer& buffer, std::int64_t offset, const void* data, std::int64_t size);
    void read(const cl::Buffer& buffer, std::int64_t offset, void* data, std::int64_t size);
    void finish();
    // Hands what is queued to the device, and waits until all but the last two calls' work is done:
    // so a stop is never far away.
    void endGroup();

    void fail(Error error);  // keeps it, if it is the first
    [[nodiscard]] bool failed() const { return m_failure.has_value(); }
    Result<void> takeFailure();

    // How long the commands that `work` launches take the device, in ms: by events of a queue of their
    // own, or by the clock where those say next to nothing. They do not show in the profile. Failures
    // are kept as those of any command.
    double time(const std::function<void()>& work);

    // Names device and driver in the keys of the cache. Throws cl::Error.
    [[nodiscard]] std::string cacheKey() const;

    // Sums over the launches since the last call; empty without Options::profile.
    std::vector<KernelTiming> takeProfile();

private:
    // Runs `run(event)`; event is null unless it is to be timed. Failures are kept.
    template <typename Command>
    void command(const std::string& doing, const Command& run, bool allocating = false) {
        if (failed()) return;
        if (const int fault = injectedFault(FaultPoint::Enqueue, m_info.id, 0); fault != 0) {
            fail(errorOf(fault, doing, m_text, allocating));
            return;
        }
        try {
            cl::Event event;
            run(m_profile ? &event : nullptr);
        } catch (const cl::Error& problem) {
            fail(errorOf(problem.err(), doing, m_text, allocating));
        }
    }
    void copyTo(const cl::Buffer& buffer, std::int64_t offset, const void* data, std::int64_t size,
                bool allocating);
    void note(const std::string& name, std::int64_t bytes, const cl::Event* event);
    void collectTimings();

    struct Timed {
        std::string name;
        std::int64_t bytes;
        cl::Event event;
    };

    DeviceInfo m_info;
    std::string m_text;
    KernelForm m_form;
    std::string m_kernelOptions;
    bool m_hostMemory;
    bool m_profile;
    std::function<void(const std::string&)> m_compiling;
    cl::Device m_device;
    cl::Context m_context;
    cl::CommandQueue m_queue;
    std::int64_t m_largestAllocation = 0;
    std::int64_t m_largestWorkGroup = 1;
    int m_vectorLanes = 8;
    std::optional<Error> m_failure;
    std::vector<cl::Event> m_groups;
    std::vector<Timed> m_timed;
    std::vector<KernelTiming> m_timings;
};

}  // namespace qllama::opencl
