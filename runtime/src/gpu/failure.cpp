#include "failure.h"

#include <HalideRuntime.h>

#include <cstring>

#include "common/error.h"

namespace muattn::gpu {
namespace {

// Drivers may find memory only when it is used first, in a copy or a kernel. Names in Halide's messages.
bool says_out_of_memory(const char *message) {
    for (const char *name : {"CL_MEM_OBJECT_ALLOCATION_FAILURE", "CL_OUT_OF_HOST_MEMORY", "CUDA_ERROR_OUT_OF_MEMORY",
                             "VK_ERROR_OUT_OF_DEVICE_MEMORY", "VK_ERROR_OUT_OF_HOST_MEMORY"}) {
        if (strstr(message, name) != nullptr) {
            return true;
        }
    }
    return false;
}

}  // namespace

muattn_status failure(const char *doing, int error, const CallContext &context) {
    if (error == halide_error_code_out_of_memory || error == halide_error_code_device_malloc_failed ||
        says_out_of_memory(context.message)) {
        return fail(MUATTN_OUT_OF_MEMORY, "out of memory in %s: %s", doing, context.message);
    }
    if (strstr(context.message, "shared memory used exceeds device limit") != nullptr) {  // of Vulkan
        return fail(MUATTN_UNSUPPORTED, "%s: %s", doing, context.message);
    }
    return fail(MUATTN_INTERNAL_ERROR, "%s: error %d: %s", doing, error, context.message);
}

}  // namespace muattn::gpu
