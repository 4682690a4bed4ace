#include "engine/backend/opencl/cache_file.h"

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace qllama::opencl {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "qllama OpenCL cache 1\n";
constexpr std::uintmax_t kLargestFile = std::uintmax_t{64} << 20;  // binaries are far below 1 MiB

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

fs::path pathOf(const CacheFile& file) {
    const std::string folder = cacheFolder();
    if (folder.empty()) return {};
    return fs::path(folder) / (file.name + "-" + hexText(checksum(file.key)));
}

// In front of key and content; fixed in length.
std::string headerOf(const std::string& key, std::string_view content) {
    std::string covered = key;
    covered += content;
    return std::string(kFormat) + hexText(key.size()) + "\n" + hexText(checksum(covered)) + "\n";
}

}  // namespace

std::optional<std::string> readCacheFile(const CacheFile& file) {
    const fs::path path = pathOf(file);
    std::error_code problem;
    const std::uintmax_t size = path.empty() ? 0 : fs::file_size(path, problem);
    const std::size_t start = headerOf({}, {}).size() + file.key.size();
    if (problem || size > kLargestFile || size <= start) return std::nullopt;
    std::string bytes(static_cast<std::size_t>(size), '\0');
    std::ifstream stream(path, std::ios::binary);
    if (!stream.read(bytes.data(), static_cast<std::streamsize>(size))) return std::nullopt;
    std::string content = bytes.substr(start);
    bytes.resize(start);
    if (bytes != headerOf(file.key, content) + file.key) return std::nullopt;
    return content;
}

void writeCacheFile(const CacheFile& file, std::string_view content) {
    const fs::path path = pathOf(file);
    if (path.empty()) return;
    std::error_code problem;
    fs::create_directories(path.parent_path(), problem);
    const fs::path temporary = path.string() + "." + std::to_string(getpid()) + ".new";
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream << headerOf(file.key, content) << file.key << content;
    stream.close();
    if (stream) fs::rename(temporary, path, problem);
    if (!stream || problem) fs::remove(temporary, problem);
}

std::string cacheFolder() {
    const char* cache = std::getenv("XDG_CACHE_HOME");
    if (cache != nullptr && *cache == '/') return std::string(cache) + "/qllama/opencl";
    const char* home = std::getenv("HOME");
    if (home != nullptr && *home == '/') return std::string(home) + "/.cache/qllama/opencl";
    return {};
}

std::string deviceKey(const cl::Device& device) {
    std::string key;
    for (const std::string& part :
         {std::string(
              cl::Platform(device.getInfo<CL_DEVICE_PLATFORM>()).getInfo<CL_PLATFORM_VERSION>()),
          std::string(device.getInfo<CL_DEVICE_NAME>()),
          std::string(device.getInfo<CL_DEVICE_VENDOR>()),
          std::string(device.getInfo<CL_DEVICE_VERSION>()),
          std::string(device.getInfo<CL_DRIVER_VERSION>())})
        key += part + '\n';
    return key;
}

}  // namespace qllama::opencl
