#include "engine/backend/opencl/icd_files.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace qllama::opencl {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestLibraryName = 4096;  // a path; more is not an .icd file

std::vector<fs::path> icdPaths() {
    const char* chosen = std::getenv("OCL_ICD_VENDORS");
    const fs::path place = chosen != nullptr && *chosen != '\0' ? chosen : "/etc/OpenCL/vendors";
    std::error_code problem;
    if (!fs::is_directory(place, problem)) {
        if (place.extension() == ".icd" && fs::exists(place, problem)) return {place};
        return {};
    }
    std::vector<fs::path> paths;
    for (fs::directory_iterator entry(place, problem), end; !problem && entry != end;
         entry.increment(problem))
        if (entry->path().extension() == ".icd") paths.push_back(entry->path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

std::string firstLine(const fs::path& path) {
    std::ifstream file(path);
    std::string line(kLongestLibraryName, '\0');
    file.getline(line.data(), static_cast<std::streamsize>(line.size()));
    line.resize(line.find('\0') == std::string::npos ? 0 : line.find('\0'));
    return line;
}

std::string problemWith(const fs::path& path) {
    const std::string library = firstLine(path);
    if (library.empty()) return "it names no library";
    // One that the loader keeps is sound and need not be opened again.
    void* handle = dlopen(library.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) handle = dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (handle == nullptr) return dlerror();
    const bool isDriver = dlsym(handle, "clGetExtensionFunctionAddress") != nullptr ||
                          dlsym(handle, "clIcdGetPlatformIDsKHR") != nullptr;
    dlclose(handle);
    return isDriver ? "" : library + " is not an OpenCL driver";
}

}  // namespace

std::vector<IcdFile> registeredDrivers() {
    std::vector<IcdFile> files;
    for (const fs::path& path : icdPaths())
        files.push_back({path.string(), problemWith(path)});
    return files;
}

}  // namespace qllama::opencl
