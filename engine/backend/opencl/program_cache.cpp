#include "engine/backend/opencl/program_cache.h"

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <vector>

#include "engine/backend/opencl/status.h"

namespace qllama::opencl {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "qllama OpenCL program 1\n";
constexpr std::uintmax_t kLargestFile = std::uintmax_t{64} << 20;  // binaries are far below 1 MiB
constexpr std::size_t kLongestLog = 4000;                          // characters of it in a message

using Binary = std::vector<unsigned char>;

// FNV-1a, 64 bits: guards against cut and damaged files, not against malice in one's own cache.
std::uint64_t checksum(std::string_view bytes) {
    std::uint64_t hash = 14695981039346656037U;
    for (const char byte : bytes)
        hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
    return hash;
}

std::string hexText(std::uint64_t number) {
    std::string text(16, '0');
    for (std::size_t i = 16; i-- > 0; number >>= 4)
        text[i] = "0123456789abcdef"[number & 15];
    return text;
}

std::string keyOf(const ProgramRequest& request) {
    const cl::Device& device = request.device;
    std::string key;
    for (const std::string& part :
         {std::string(
              cl::Platform(device.getInfo<CL_DEVICE_PLATFORM>()).getInfo<CL_PLATFORM_VERSION>()),
          std::string(device.getInfo<CL_DEVICE_NAME>()),
          std::string(device.getInfo<CL_DEVICE_VENDOR>()),
          std::string(device.getInfo<CL_DEVICE_VERSION>()),
          std::string(device.getInfo<CL_DRIVER_VERSION>()), request.options,
          std::string(request.source)})
        key += part + '\n';
    return key;
}

fs::path fileFor(const ProgramRequest& request, const std::string& key) {
    const std::string folder = programCacheFolder();
    if (folder.empty()) return {};
    return fs::path(folder) / (std::string(request.name) + "-" + hexText(checksum(key)));
}

// The header in front of the binary: format, sizes and checksum, each fixed in length.
std::string headerOf(const std::string& key, std::string_view binary) {
    std::string covered = key;
    covered += binary;
    return std::string(kFormat) + hexText(key.size()) + "\n" + hexText(checksum(covered)) + "\n";
}

std::optional<Binary> readCached(const fs::path& path, const std::string& key) {
    std::error_code problem;
    const std::uintmax_t size = fs::file_size(path, problem);
    if (problem || size > kLargestFile) return std::nullopt;
    std::string content(static_cast<std::size_t>(size), '\0');
    std::ifstream file(path, std::ios::binary);
    if (!file.read(content.data(), static_cast<std::streamsize>(size))) return std::nullopt;
    const std::size_t headerSize = headerOf({}, {}).size();
    if (content.size() <= headerSize + key.size()) return std::nullopt;
    const std::string_view binary = std::string_view(content).substr(headerSize + key.size());
    if (std::string_view(content).substr(0, headerSize) != headerOf(key, binary) ||
        std::string_view(content).substr(headerSize, key.size()) != key)
        return std::nullopt;
    return Binary(binary.begin(), binary.end());
}

void writeCached(const fs::path& path, const std::string& key, const Binary& binary) {
    std::error_code problem;
    fs::create_directories(path.parent_path(), problem);
    const fs::path temporary = path.string() + "." + std::to_string(getpid()) + ".new";
    const std::string_view bytes(reinterpret_cast<const char*>(binary.data()), binary.size());
    {
        std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
        file << headerOf(key, bytes) << key << bytes;
        file.close();
        if (!file) {
            fs::remove(temporary, problem);
            return;
        }
    }
    fs::rename(temporary, path, problem);
    if (problem) fs::remove(temporary, problem);
}

std::optional<cl::Program> programFromBinary(const ProgramRequest& request, const Binary& binary) {
    try {
        cl::Program program(request.context, {request.device}, cl::Program::Binaries{binary});
        program.build(request.device, request.options.c_str());
        return program;
    } catch (const cl::Error&) {
        return std::nullopt;  // another version of the driver wrote it, or it is damaged
    }
}

Error buildError(const ProgramRequest& request, const cl::Program& program, cl_int status) {
    std::string log;
    try {
        log = program.getBuildInfo<CL_PROGRAM_BUILD_LOG>(request.device);
    } catch (const cl::Error&) {
        log = "The driver gives no log.";
    }
    if (log.size() > kLongestLog) log = log.substr(0, kLongestLog) + "...";
    return {ErrorCode::Device,
            "The driver of " + request.deviceText + " could not compile the kernel file " +
                std::string(request.name) + ".cl (" + statusName(status) +
                "). Another device, or another version of its driver, may work. The compiler "
                "says: " +
                log,
            std::string(request.name) + ".cl"};
}

}  // namespace

std::string programCacheFolder() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    if (cache != nullptr && *cache == '/') return std::string(cache) + "/qllama/opencl";
    const char* home = std::getenv("HOME");
    if (home != nullptr && *home == '/') return std::string(home) + "/.cache/qllama/opencl";
    return {};
}

Result<BuiltProgram> buildProgram(const ProgramRequest& request) {
    const std::string key = keyOf(request);
    const fs::path path = fileFor(request, key);
    if (!path.empty()) {
        if (const auto binary = readCached(path, key))
            if (auto program = programFromBinary(request, *binary))
                return BuiltProgram{std::move(*program), true};
    }
    cl::Program program(request.context, std::string(request.source));
    try {
        program.build(request.device, request.options.c_str());
    } catch (const cl::Error& problem) {
        return buildError(request, program, problem.err());
    }
    try {
        const auto binaries = program.getInfo<CL_PROGRAM_BINARIES>();
        if (!path.empty() && binaries.size() == 1 && !binaries.front().empty())
            writeCached(path, key, binaries.front());
    } catch (const cl::Error&) {
        // A driver without binaries compiles at each start.
    }
    return BuiltProgram{std::move(program), false};
}

}  // namespace qllama::opencl
