// The files of kernels/, as they were when the program was built.
#pragma once

#include <span>
#include <string_view>

namespace qllama::opencl {

struct KernelSource {
    std::string_view name;  // of the file, without ".cl"
    std::string_view text;
};

std::span<const KernelSource> kernelSources();
std::string_view kernelSource(std::string_view name);  // a name of that list

}  // namespace qllama::opencl
