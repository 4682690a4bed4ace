#include "engine/backend/opencl/discovery.h"

#include <cstdio>
#include <mutex>

#include "engine/backend/opencl/icd_files.h"
#include "engine/backend/opencl/status.h"

namespace qllama::opencl {
namespace {

constexpr cl_int kNoPlatform = -1001;  // CL_PLATFORM_NOT_FOUND_KHR of the loader

constexpr const char* kHowToInstall =
    "For a graphics card install the driver of its vendor (on Debian mesa-opencl-icd for AMD, "
    "intel-opencl-icd for Intel, nvidia-opencl-icd for NVIDIA); pocl-opencl-icd runs OpenCL on the "
    "processor, to try it.";

DeviceKind kindOf(cl_device_type type) {
    if (type & CL_DEVICE_TYPE_GPU) return DeviceKind::Gpu;
    if (type & CL_DEVICE_TYPE_CPU) return DeviceKind::Cpu;
    if (type & CL_DEVICE_TYPE_ACCELERATOR) return DeviceKind::Accelerator;
    return DeviceKind::Other;
}

// Drivers pad some texts with spaces and end others with a zero.
std::string trimmed(std::string text) {
    const auto isPadding = [](char c) { return c == ' ' || c == '\0'; };
    while (!text.empty() && isPadding(text.back()))
        text.pop_back();
    std::size_t start = 0;
    while (start < text.size() && isPadding(text[start]))
        ++start;
    return text.substr(start);
}

// OpenCL itself has no question for it; AMD's drivers answer one of their own, in KiB.
std::optional<std::int64_t> freeMemoryOf(const cl::Device& device, const std::string& extensions) {
    constexpr cl_device_info kGlobalFreeMemory = 0x4039;  // CL_DEVICE_GLOBAL_FREE_MEMORY_AMD
    if (extensions.find("cl_amd_device_attribute_query") == std::string::npos) return std::nullopt;
    std::size_t kibibytes[2] = {};  // in all, and the largest piece
    const cl_int status =
        clGetDeviceInfo(device(), kGlobalFreeMemory, sizeof kibibytes, kibibytes, nullptr);
    if (status != CL_SUCCESS || kibibytes[0] == 0) return std::nullopt;
    return static_cast<std::int64_t>(kibibytes[0]) * 1024;
}

DeviceInfo factsOf(const cl::Device& device, const std::string& platform) {
    DeviceInfo info;
    info.name = trimmed(device.getInfo<CL_DEVICE_NAME>());
    info.vendor = trimmed(device.getInfo<CL_DEVICE_VENDOR>());
    info.platform = platform;
    info.driver = trimmed(device.getInfo<CL_DRIVER_VERSION>());
    info.kind = kindOf(device.getInfo<CL_DEVICE_TYPE>());
    info.computeUnits = static_cast<int>(device.getInfo<CL_DEVICE_MAX_COMPUTE_UNITS>());
    info.globalMemoryBytes = static_cast<std::int64_t>(device.getInfo<CL_DEVICE_GLOBAL_MEM_SIZE>());
    const std::string extensions = device.getInfo<CL_DEVICE_EXTENSIONS>();
    info.freeMemoryBytes = freeMemoryOf(device, extensions);
    info.maxAllocationBytes =
        static_cast<std::int64_t>(device.getInfo<CL_DEVICE_MAX_MEM_ALLOC_SIZE>());
    info.hasHalfPrecision = extensions.find("cl_khr_fp16") != std::string::npos;
    const bool remote = isRemote(device.getInfo<CL_DEVICE_VERSION>());
    info.isHostProcessor = info.kind == DeviceKind::Cpu && !remote;
    info.sharesHostMemory = info.isHostProcessor ||
                            (!remote && device.getInfo<CL_DEVICE_HOST_UNIFIED_MEMORY>() == CL_TRUE);
    return info;
}

void addDevice(const cl::Device& device, const std::string& platform, Discovery& found) {
    try {
        if (device.getInfo<CL_DEVICE_AVAILABLE>() != CL_TRUE ||
            device.getInfo<CL_DEVICE_COMPILER_AVAILABLE>() != CL_TRUE) {
            found.notes.push_back("The OpenCL device " + trimmed(device.getInfo<CL_DEVICE_NAME>()) +
                                  " of " + platform +
                                  " is not available or has no compiler; it cannot be used.");
            return;
        }
        if (const std::string version = trimmed(device.getInfo<CL_DEVICE_VERSION>());
            !isRecentEnough(version)) {
            found.notes.push_back("The OpenCL device " + trimmed(device.getInfo<CL_DEVICE_NAME>()) +
                                  " of " + platform + " cannot be used: it offers " + version +
                                  ", and 1.2 is needed. A newer driver may offer that.");
            return;
        }
        DeviceInfo info = factsOf(device, platform);
        info.id = "opencl:" + std::to_string(found.devices.size());
        found.devices.push_back({device, std::move(info)});
    } catch (const cl::Error& problem) {
        found.notes.push_back("A device of the OpenCL platform " + platform +
                              " does not answer and was left out (" + problem.what() + ": " +
                              statusName(problem.err()) + "). Its driver may need an update.");
    }
}

std::string withoutDevices(const std::string& platform) {
    std::string note =
        "The OpenCL platform " + platform + " is installed but has no device that it can use here.";
    if (platform == "rusticl")
        note +=
            " It offers only the drivers that the environment variable RUSTICL_ENABLE names, for "
            "example RUSTICL_ENABLE=radeonsi.";
    return note;
}

void addPlatform(const cl::Platform& platform, Discovery& found) {
    std::string name = "without a name";
    try {
        name = trimmed(platform.getInfo<CL_PLATFORM_NAME>());
        std::vector<cl::Device> devices;
        platform.getDevices(CL_DEVICE_TYPE_ALL, &devices);
        for (const cl::Device& device : devices)
            addDevice(device, name, found);
        if (devices.empty()) found.notes.push_back(withoutDevices(name));
    } catch (const cl::Error& problem) {
        found.notes.push_back(problem.err() == CL_DEVICE_NOT_FOUND
                                  ? withoutDevices(name)
                                  : "The OpenCL platform " + name + " does not answer (" +
                                        statusName(problem.err()) +
                                        "). Its driver may need an update.");
    }
}

void addDriverNotes(Discovery& found, cl_int loaderStatus) {
    bool anyBroken = false;
    for (const IcdFile& file : registeredDrivers()) {
        if (file.problem.empty()) continue;
        anyBroken = true;
        found.notes.push_back("The OpenCL driver registered in " + file.path +
                              " cannot be loaded: " + file.problem +
                              ". Install it again, or remove that file.");
    }
    if (loaderStatus == kNoPlatform && !anyBroken)
        found.notes.push_back(std::string("No OpenCL driver is installed. ") + kHowToInstall);
    else if (loaderStatus != CL_SUCCESS && loaderStatus != kNoPlatform)
        found.notes.push_back("The OpenCL loader failed (" + statusName(loaderStatus) +
                              "), so no OpenCL device can be used. Start the program again; if it "
                              "happens again, install ocl-icd-libopencl1 and the drivers anew.");
    else if (found.devices.empty())
        found.notes.push_back(std::string("No OpenCL device can be used. ") + kHowToInstall);
}

}  // namespace

bool isRecentEnough(const std::string& deviceVersion) {
    int major = 0;
    int minor = 0;
    return std::sscanf(deviceVersion.c_str(), "OpenCL %d.%d", &major, &minor) == 2 &&
           (major > 1 || (major == 1 && minor >= 2));
}

bool isRemote(const std::string& deviceVersion) {
    return deviceVersion.find("HSTR: pocl-remote") != std::string::npos;
}

Discovery discover() {
    // The window looks for devices while a model is being loaded on one of them, and not every driver
    // gets through being started by two threads at once (PoCL 3.1 does not).
    static std::mutex oneAtATime;
    const std::scoped_lock lock(oneAtATime);
    Discovery found;
    std::vector<cl::Platform> platforms;
    cl_int loaderStatus = CL_SUCCESS;
    try {
        cl::Platform::get(&platforms);
        if (platforms.empty()) loaderStatus = kNoPlatform;
    } catch (const cl::Error& problem) {
        loaderStatus = problem.err();
    }
    for (const cl::Platform& platform : platforms)
        addPlatform(platform, found);
    addDriverNotes(found, loaderStatus);
    return found;
}

}  // namespace qllama::opencl
