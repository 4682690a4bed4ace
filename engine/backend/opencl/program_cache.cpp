#include "engine/backend/opencl/program_cache.h"

#include <optional>
#include <vector>

#include "engine/backend/opencl/cache_file.h"
#include "engine/backend/opencl/status.h"

namespace qllama::opencl {
namespace {

constexpr std::size_t kLongestLog = 4000;  // characters of it in a message

CacheFile fileFor(const ProgramRequest& request) {
    return {std::string(request.name), deviceKey(request.device) + request.options + '\n' +
                                           std::string(request.source) + '\n'};
}

std::optional<cl::Program> programFromBinary(const ProgramRequest& request,
                                             const std::string& content) {
    try {
        const std::vector<unsigned char> binary(content.begin(), content.end());
        cl::Program program(request.context, {request.device}, cl::Program::Binaries{binary});
        program.build(request.device, request.options.c_str());
        return program;
    } catch (const cl::Error&) {
        return std::nullopt;  // another version of the driver wrote it, or it is damaged
    }
}

void keepBinary(const cl::Program& program, const CacheFile& file) {
    try {
        const auto binaries = program.getInfo<CL_PROGRAM_BINARIES>();
        if (binaries.size() != 1 || binaries.front().empty()) return;
        const auto& binary = binaries.front();
        writeCacheFile(file, {reinterpret_cast<const char*>(binary.data()), binary.size()});
    } catch (const cl::Error&) {
        // A driver without binaries compiles at each start.
    }
}

Error buildError(const ProgramRequest& request, const cl::Program& program, cl_int status) {
    std::string log;
    try {
        log = program.getBuildInfo<CL_PROGRAM_BUILD_LOG>(request.device);
    } catch (const cl::Error&) {
        // Some failures come before the compiler.
    }
    if (log.size() > kLongestLog) log = log.substr(0, kLongestLog) + "...";
    return {ErrorCode::Device,
            "The driver of " + request.deviceText + " could not compile the kernel file " +
                std::string(request.name) + ".cl (" + statusName(status) +
                "). Another device, or another version of its driver, may work." +
                (log.empty() ? "" : " The compiler says: " + log),
            {}};
}

Result<cl::Program> compiled(const ProgramRequest& request, const CacheFile& file) {
    cl::Program program(request.context, std::string(request.source));
    try {
        program.build(request.device, request.options.c_str());
    } catch (const cl::Error& problem) {
        return buildError(request, program, problem.err());
    }
    keepBinary(program, file);  // some drivers compile only now
    return program;
}

}  // namespace

Result<BuiltProgram> buildProgram(const ProgramRequest& request) {
    const CacheFile file = fileFor(request);
    if (const auto binary = readCacheFile(file))
        if (auto program = programFromBinary(request, *binary))
            return BuiltProgram{std::move(*program), true};
    if (request.compiling) request.compiling(true);
    auto fresh = compiled(request, file);
    if (request.compiling) request.compiling(false);
    QLLAMA_TRY(cl::Program program, std::move(fresh));
    return BuiltProgram{std::move(program), false};
}

}  // namespace qllama::opencl
