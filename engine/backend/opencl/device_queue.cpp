#include "engine/backend/opencl/device_queue.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "engine/backend/opencl/cache_file.h"
#include "engine/backend/opencl/kernel_sources.h"
#include "engine/backend/opencl/program_cache.h"
#include "engine/common/host_memory.h"

namespace qllama::opencl {
namespace {

constexpr std::size_t kGroupsInFlight = 2;

// Some drivers (rusticl of Mesa 22.3) stamp events when they take the command. Starting a kernel and
// waiting for it takes a multiple of the shortest, but not so much.
constexpr double kCredible = 0.01;  // of the time that passed

// Timed events are read out before they pile up.
constexpr std::size_t kTimedEvents = 4096;

std::string sizeText(std::int64_t bytes) {
    constexpr std::int64_t kMiB = std::int64_t{1} << 20;
    return bytes >= kMiB ? std::to_string((bytes + kMiB / 2) / kMiB) + " MiB"
                         : std::to_string(bytes) + " bytes";
}

double millisecondsOf(const cl::Event& event) {
    const auto start = event.getProfilingInfo<CL_PROFILING_COMMAND_START>();
    const auto end = event.getProfilingInfo<CL_PROFILING_COMMAND_END>();
    return end > start ? static_cast<double>(end - start) / 1e6 : 0;
}

// Memory of our own for the host's processor: the operating system gives it zeroed and only as it is
// used. Filling it would cost the start some milliseconds a buffer. Throws cl::Error.
cl::Buffer hostBuffer(const cl::Context& context, std::int64_t sizeBytes, bool hugePages) {
    auto memory = HostMemory::allocate(sizeBytes, hugePages, "a device");
    if (!memory.ok()) throw cl::Error(CL_OUT_OF_HOST_MEMORY, "HostMemory");
    using Owner = std::shared_ptr<HostMemory>;
    auto owner = std::make_unique<Owner>(std::move(memory).value());
    cl::Buffer buffer(context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR,
                      static_cast<std::size_t>(sizeBytes), (*owner)->data());
    buffer.setDestructorCallback([](cl_mem, void* held) { delete static_cast<Owner*>(held); },
                                 owner.get());
    owner.release();
    return buffer;
}

}  // namespace

Grid flatGrid(const Kernel& kernel, std::int64_t items, std::int64_t mostLocal) {
    const std::int64_t limit = std::min(kernel.largestWorkGroup, mostLocal);
    std::int64_t local = 1;
    while (local * 2 <= limit)
        local *= 2;
    const std::int64_t global = (items + local - 1) / local * local;
    return {cl::NDRange(static_cast<std::size_t>(global)),
            cl::NDRange(static_cast<std::size_t>(local))};
}

DeviceQueue::DeviceQueue(const FoundDevice& device, const Options& options)
    : m_info(device.info),
      m_text(device.info.id + " (" + device.info.name + ")"),
      m_form(options.form),
      m_kernelOptions(options.kernelOptions),
      m_hostMemory(options.hostMemory),
      m_profile(options.profile),
      m_compiling(options.compiling),
      m_device(device.device),
      m_context(device.device),
      m_queue(m_context, m_device,
              static_cast<cl_command_queue_properties>(options.profile ? CL_QUEUE_PROFILING_ENABLE
                                                                       : 0)) {
    m_largestAllocation = m_info.maxAllocationBytes.value_or(std::int64_t{128} << 20);
    m_largestWorkGroup =
        static_cast<std::int64_t>(m_device.getInfo<CL_DEVICE_MAX_WORK_GROUP_SIZE>());
    const auto itemSizes = m_device.getInfo<CL_DEVICE_MAX_WORK_ITEM_SIZES>();
    if (!itemSizes.empty())
        m_largestWorkGroup =
            std::min(m_largestWorkGroup, static_cast<std::int64_t>(itemSizes.front()));
    m_vectorLanes = options.vectorLanes > 0 ? options.vectorLanes
                    : m_device.getInfo<CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT>() >= 16 ? 16
                                                                                    : 8;
}

DeviceQueue::~DeviceQueue() {
    try {
        m_queue.finish();
    } catch (const cl::Error&) {
        // A broken device has nothing left to wait for.
    }
}

Result<cl::Buffer> DeviceQueue::allocate(std::int64_t sizeBytes, bool zeroed,
                                         const std::string& what) {
    const std::string doing = "allocating " + sizeText(sizeBytes) + " for " + what;
    if (const int fault = injectedFault(FaultPoint::Allocation, m_info.id, sizeBytes); fault != 0)
        return errorOf(fault, doing, m_text, true);
    // Not every driver refuses what it announces to be too large.
    if (sizeBytes > m_largestAllocation)
        return errorOf(CL_INVALID_BUFFER_SIZE, doing, m_text, true);
    try {
        // What is zeroed gets small pages, so that a short text touches little of the KV cache; weights,
        // all of which are read for each token, come faster from huge ones.
        if (m_hostMemory && m_info.isHostProcessor && m_form == KernelForm::Cpu)
            return hostBuffer(m_context, sizeBytes, !zeroed);
        cl::Buffer buffer(m_context, CL_MEM_READ_WRITE, static_cast<std::size_t>(sizeBytes));
        if (zeroed) {
            m_queue.enqueueFillBuffer(buffer, cl_uint{0}, 0, static_cast<std::size_t>(sizeBytes));
            m_queue.finish();
        }
        return buffer;
    } catch (const cl::Error& problem) {
        return errorOf(problem.err(), doing, m_text, true);
    }
}

Result<cl::Buffer> DeviceQueue::borrow(const std::byte* data, std::int64_t sizeBytes,
                                       const std::string& what) {
    const std::string doing = "mapping " + sizeText(sizeBytes) + " of " + what;
    if (const int fault = injectedFault(FaultPoint::Allocation, m_info.id, sizeBytes); fault != 0)
        return errorOf(fault, doing, m_text, true);
    try {
        return cl::Buffer(m_context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR,
                          static_cast<std::size_t>(sizeBytes), const_cast<std::byte*>(data));
    } catch (const cl::Error& problem) {
        return errorOf(problem.err(), doing, m_text, true);
    }
}

Result<Kernel> DeviceQueue::kernel(const std::string& file, const std::string& name,
                                   const std::string& options) {
    // -w: compilers print warnings to the terminal, such as how vectors wider than the processor's
    // are passed to functions that are inlined anyway.
    try {
        QLLAMA_TRY(auto built, buildProgram({.context = m_context,
                                             .device = m_device,
                                             .deviceText = m_text,
                                             .name = file,
                                             .source = kernelSource(file),
                                             .options = "-cl-std=CL1.2 -cl-mad-enable -w -DLANES=" +
                                                        std::to_string(m_vectorLanes) + " " +
                                                        options + " " + m_kernelOptions,
                                             .compiling = [this](bool now) {
                                                 if (m_compiling) m_compiling(now ? m_info.id : "");
                                             }}));
        Kernel kernel{name, cl::Kernel(built.program, name.c_str())};
        kernel.largestWorkGroup =
            std::min(m_largestWorkGroup,
                     static_cast<std::int64_t>(
                         kernel.kernel.getWorkGroupInfo<CL_KERNEL_WORK_GROUP_SIZE>(m_device)));
        return kernel;
    } catch (const cl::Error& problem) {
        return errorOf(problem.err(), "preparing the kernel " + name, m_text, false);
    }
}

void DeviceQueue::write(const cl::Buffer& buffer, std::int64_t offset, const void* data,
                        std::int64_t size) {
    copyTo(buffer, offset, data, size, false);
}

void DeviceQueue::fill(const cl::Buffer& buffer, std::int64_t offset, const void* data,
                       std::int64_t size) {
    copyTo(buffer, offset, data, size, true);
}

void DeviceQueue::copyTo(const cl::Buffer& buffer, std::int64_t offset, const void* data,
                         std::int64_t size, bool allocating) {
    if (size == 0) return;
    command(
        "copying to it",
        [&](cl::Event* event) {
            m_queue.enqueueWriteBuffer(buffer, CL_TRUE, static_cast<std::size_t>(offset),
                                       static_cast<std::size_t>(size), data, nullptr, event);
            note("copy to device", size, event);
        },
        allocating);
}

void DeviceQueue::read(const cl::Buffer& buffer, std::int64_t offset, void* data,
                       std::int64_t size) {
    if (size == 0) return;
    command("copying from it", [&](cl::Event* event) {
        m_queue.enqueueReadBuffer(buffer, CL_TRUE, static_cast<std::size_t>(offset),
                                  static_cast<std::size_t>(size), data, nullptr, event);
        note("copy from device", size, event);
    });
}

void DeviceQueue::finish() {
    command("waiting for it", [&](cl::Event*) { m_queue.finish(); });
    m_groups.clear();
}

void DeviceQueue::endGroup() {
    command("starting its work", [&](cl::Event*) {
        cl::Event marker;
        m_queue.enqueueMarkerWithWaitList(nullptr, &marker);
        m_queue.flush();
        m_groups.push_back(marker);
        if (m_groups.size() <= kGroupsInFlight) return;
        m_groups.front().wait();
        m_groups.erase(m_groups.begin());
    });
}

void DeviceQueue::fail(Error error) {
    if (!m_failure) m_failure = std::move(error);
}

Result<void> DeviceQueue::takeFailure() {
    if (!m_failure) return {};
    try {
        // What was queued before may still be reading memory that its owner now lets go.
        m_queue.finish();
    } catch (const cl::Error&) {
        // A broken device has nothing left to wait for.
    }
    m_groups.clear();
    return *std::exchange(m_failure, std::nullopt);
}

void DeviceQueue::note(const std::string& name, std::int64_t bytes, const cl::Event* event) {
    if (event == nullptr) return;
    m_timed.push_back({name, bytes, *event});
    if (m_timed.size() >= kTimedEvents) collectTimings();
}

void DeviceQueue::collectTimings() {
    m_queue.finish();
    std::map<std::string, KernelTiming> sums;
    for (KernelTiming& timing : m_timings)
        sums[timing.name] = std::move(timing);
    for (const Timed& timed : m_timed) {
        KernelTiming& sum = sums[timed.name];
        sum.name = timed.name;
        sum.calls += 1;
        sum.ms += millisecondsOf(timed.event);
        sum.bytes += timed.bytes;
    }
    m_timed.clear();
    m_timings.clear();
    for (auto& [name, timing] : sums)
        m_timings.push_back(std::move(timing));
}

double DeviceQueue::time(const std::function<void()>& work) {
    finish();
    cl::CommandQueue usual = m_queue;
    std::vector<Timed> before = std::exchange(m_timed, {});
    const bool profile = std::exchange(m_profile, true);
    command("preparing to measure it", [&](cl::Event*) {
        m_queue = cl::CommandQueue(m_context, m_device, CL_QUEUE_PROFILING_ENABLE);
    });
    const auto start = std::chrono::steady_clock::now();
    work();
    double ms = 0;
    command("measuring it", [&](cl::Event*) {
        m_queue.finish();
        const std::chrono::duration<double, std::milli> passed =
            std::chrono::steady_clock::now() - start;
        for (const Timed& timed : m_timed)
            ms += millisecondsOf(timed.event);
        if (ms < passed.count() * kCredible) ms = passed.count();
    });
    m_profile = profile;
    m_timed = std::move(before);
    m_queue = std::move(usual);
    return ms;
}

std::int64_t DeviceQueue::cacheBytes() const {
    return static_cast<std::int64_t>(m_device.getInfo<CL_DEVICE_GLOBAL_MEM_CACHE_SIZE>());
}

std::string DeviceQueue::exactDivision() const {
    const auto abilities = m_device.getInfo<CL_DEVICE_SINGLE_FP_CONFIG>();
    return (abilities & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0
               ? " -cl-fp32-correctly-rounded-divide-sqrt"
               : "";
}

std::string DeviceQueue::cacheKey() const {
    return deviceKey(m_device);
}

std::vector<KernelTiming> DeviceQueue::takeProfile() {
    command("reading its timings", [&](cl::Event*) { collectTimings(); });
    std::sort(m_timings.begin(), m_timings.end(),
              [](const KernelTiming& a, const KernelTiming& b) { return a.ms > b.ms; });
    return std::exchange(m_timings, {});
}

}  // namespace qllama::opencl
