#include "engine/backend/opencl/status.h"

namespace qllama::opencl {
namespace {

struct StatusName {
    cl_int status;
    const char* name;
};

#define QLLAMA_STATUS(name) \
    { name, #name }
constexpr StatusName kNames[] = {
    QLLAMA_STATUS(CL_DEVICE_NOT_FOUND),
    QLLAMA_STATUS(CL_DEVICE_NOT_AVAILABLE),
    QLLAMA_STATUS(CL_COMPILER_NOT_AVAILABLE),
    QLLAMA_STATUS(CL_MEM_OBJECT_ALLOCATION_FAILURE),
    QLLAMA_STATUS(CL_OUT_OF_RESOURCES),
    QLLAMA_STATUS(CL_OUT_OF_HOST_MEMORY),
    QLLAMA_STATUS(CL_BUILD_PROGRAM_FAILURE),
    QLLAMA_STATUS(CL_MISALIGNED_SUB_BUFFER_OFFSET),
    QLLAMA_STATUS(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
    QLLAMA_STATUS(CL_INVALID_VALUE),
    QLLAMA_STATUS(CL_INVALID_DEVICE),
    QLLAMA_STATUS(CL_INVALID_CONTEXT),
    QLLAMA_STATUS(CL_INVALID_QUEUE_PROPERTIES),
    QLLAMA_STATUS(CL_INVALID_COMMAND_QUEUE),
    QLLAMA_STATUS(CL_INVALID_HOST_PTR),
    QLLAMA_STATUS(CL_INVALID_MEM_OBJECT),
    QLLAMA_STATUS(CL_INVALID_BINARY),
    QLLAMA_STATUS(CL_INVALID_BUILD_OPTIONS),
    QLLAMA_STATUS(CL_INVALID_PROGRAM),
    QLLAMA_STATUS(CL_INVALID_PROGRAM_EXECUTABLE),
    QLLAMA_STATUS(CL_INVALID_KERNEL_NAME),
    QLLAMA_STATUS(CL_INVALID_KERNEL),
    QLLAMA_STATUS(CL_INVALID_ARG_INDEX),
    QLLAMA_STATUS(CL_INVALID_ARG_VALUE),
    QLLAMA_STATUS(CL_INVALID_ARG_SIZE),
    QLLAMA_STATUS(CL_INVALID_KERNEL_ARGS),
    QLLAMA_STATUS(CL_INVALID_WORK_DIMENSION),
    QLLAMA_STATUS(CL_INVALID_WORK_GROUP_SIZE),
    QLLAMA_STATUS(CL_INVALID_WORK_ITEM_SIZE),
    QLLAMA_STATUS(CL_INVALID_GLOBAL_OFFSET),
    QLLAMA_STATUS(CL_INVALID_EVENT_WAIT_LIST),
    QLLAMA_STATUS(CL_INVALID_EVENT),
    QLLAMA_STATUS(CL_INVALID_OPERATION),
    QLLAMA_STATUS(CL_INVALID_BUFFER_SIZE),
    QLLAMA_STATUS(CL_INVALID_GLOBAL_WORK_SIZE),
};
#undef QLLAMA_STATUS

bool isMemoryStatus(cl_int status, bool allocating) {
    switch (status) {
        case CL_MEM_OBJECT_ALLOCATION_FAILURE:
        case CL_OUT_OF_HOST_MEMORY:
            return true;
        case CL_OUT_OF_RESOURCES:
        case CL_INVALID_BUFFER_SIZE:
            return allocating;
        default:
            return false;
    }
}

}  // namespace

std::string statusName(cl_int status) {
    for (const StatusName& entry : kNames)
        if (entry.status == status) return entry.name;
    return "OpenCL status " + std::to_string(status);
}

Error errorOf(cl_int status, const std::string& doing, const std::string& deviceText,
              bool allocating) {
    if (isMemoryStatus(status, allocating))
        return {ErrorCode::OutOfMemory,
                "The device " + deviceText + " ran out of memory while " + doing + " (" +
                    statusName(status) +
                    "). Put fewer layers on it, use a shorter context or a smaller precision, or "
                    "choose another device.",
                {}};
    return {ErrorCode::Device,
            "The device " + deviceText + " failed while " + doing + " (" + statusName(status) +
                "). Try again, or choose another device; if it happens again, its driver may need "
                "an update.",
            {}};
}

}  // namespace qllama::opencl
