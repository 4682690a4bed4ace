// Small files in $XDG_CACHE_HOME/qllama/opencl (else ~/.cache/qllama/opencl) that spare the next start
// work: compiled kernels and what was measured of a device.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/backend/opencl/cl.h"

namespace qllama::opencl {

// A file is a line that names the format, the sizes and a checksum, then the key (everything that the
// content depends on) and the content. It is written under another name and renamed, so that two
// programs may share the folder.
struct CacheFile {
    std::string name;  // in front of the hash of the key: what it is, for people
    std::string key;
};

// Empty when there is no such file, or one that is not exactly as it was written.
std::optional<std::string> readCacheFile(const CacheFile& file);
// Failing to write is no failure: the next start does the work again.
void writeCacheFile(const CacheFile& file, std::string_view content);

// "" when there is no place for it (neither XDG_CACHE_HOME nor HOME is set).
std::string cacheFolder();

// The part of a key that names the device and the version of its driver. Throws cl::Error.
std::string deviceKey(const cl::Device& device);

}  // namespace qllama::opencl
