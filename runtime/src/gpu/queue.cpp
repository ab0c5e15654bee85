#include "queue.h"

#include <HalideRuntime.h>
#include <HalideRuntimeVulkan.h>
#include <sched.h>

#include <atomic>

#include "../error.h"
#include "../halide_hooks.h"
#include "device.h"
#include "drivers.h"

// Of Halide's runtime, which has no headers for them.
extern "C" {
int halide_default_cuda_acquire_context(void *user_context, void **context, bool create);
int halide_cuda_acquire_context(void *user_context, void **context, bool create);
int halide_cuda_release_context(void *user_context);
int halide_cuda_get_stream(void *user_context, void *context, void **stream);
int halide_acquire_cl_context(void *user_context, void **context, void **queue, bool create);
int halide_release_cl_context(void *user_context);
}

namespace muattn::gpu {
namespace {

thread_local muattn_queue given_cuda{}, given_opencl{};

// The library's own OpenCL context, and whose turn it is.
std::atomic_flag opencl_turn = ATOMIC_FLAG_INIT;
void *opencl_context = nullptr, *opencl_queue = nullptr;

// The first device of the first platform that has one.
bool create_opencl_context() {
    constexpr uint32_t kMaxPlatforms = 16;
    constexpr uint64_t kAllDevices = 0xffffffff;
    const auto platforms_of =
        driver_function<int32_t (*)(uint32_t, void **, uint32_t *)>(MUATTN_OPENCL, "clGetPlatformIDs");
    const auto devices_of =
        driver_function<int32_t (*)(void *, uint64_t, uint32_t, void **, uint32_t *)>(MUATTN_OPENCL, "clGetDeviceIDs");
    const auto new_context =
        driver_function<void *(*)(const intptr_t *, uint32_t, void *const *, void *, void *, int32_t *)>(
            MUATTN_OPENCL, "clCreateContext");
    const auto new_queue =
        driver_function<void *(*)(void *, void *, uint64_t, int32_t *)>(MUATTN_OPENCL, "clCreateCommandQueue");
    void *platforms[kMaxPlatforms];
    uint32_t count = 0;
    if (platforms_of == nullptr || devices_of == nullptr || new_context == nullptr || new_queue == nullptr ||
        platforms_of(kMaxPlatforms, platforms, &count) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < count && i < kMaxPlatforms; i++) {
        void *device = nullptr;
        uint32_t devices = 0;
        if (devices_of(platforms[i], kAllDevices, 1, &device, &devices) != 0 || devices == 0) {
            continue;
        }
        int32_t error = 0;
        opencl_context = new_context(nullptr, 1, &device, nullptr, nullptr, &error);
        opencl_queue = error == 0 ? new_queue(opencl_context, device, 0, &error) : nullptr;
        if (error == 0) {
            return true;
        }
        opencl_context = nullptr;
    }
    return false;
}

void *current_cuda_context() {
    const auto current = driver_function<int (*)(void **)>(MUATTN_CUDA, "cuCtxGetCurrent");
    void *context = nullptr;
    return current != nullptr && current(&context) == 0 ? context : nullptr;
}

}  // namespace

QueueKey queue_key(muattn_device device) {
    switch (device) {
    case MUATTN_CUDA:
        return {given_cuda.context != nullptr ? given_cuda.context : current_cuda_context(), given_cuda.queue};
    case MUATTN_OPENCL: return {given_opencl.context, given_opencl.queue};
    default: return {};
    }
}

}  // namespace muattn::gpu

extern "C" {

using namespace muattn;
using namespace muattn::gpu;

muattn_status muattn_set_queue(muattn_device device, const muattn_queue *queue) {
    const muattn_queue none{};
    const muattn_queue &given = queue != nullptr ? *queue : none;
    switch (device) {
    case MUATTN_CUDA: given_cuda = given; return MUATTN_OK;
    case MUATTN_OPENCL:
        if ((given.context == nullptr) != (given.queue == nullptr)) {
            return fail(MUATTN_INVALID_ARGUMENT, "queue: OpenCL needs both a context and a queue of it");
        }
        given_opencl = given;
        return MUATTN_OK;
    case MUATTN_VULKAN:
        return queue == nullptr
                   ? MUATTN_OK
                   : fail(MUATTN_UNSUPPORTED, "queue: Vulkan runs on the library's own; muattn_get_queue() gives it");
    default: return fail(MUATTN_INVALID_ARGUMENT, "device: %d has no queues", int(device));
    }
}

muattn_status muattn_get_queue(muattn_device device, muattn_queue *queue) {
    if (queue == nullptr) {
        return fail(MUATTN_INVALID_ARGUMENT, "queue must not be null");
    }
    *queue = {};
    if (device != MUATTN_CUDA && device != MUATTN_VULKAN && device != MUATTN_OPENCL) {
        return fail(MUATTN_INVALID_ARGUMENT, "device: %d has no queues", int(device));
    }
    if (!available(device)) {
        return fail(MUATTN_INVALID_BACKEND, "device: this machine has none of this kind");
    }
    CallContext call;
    int error = 0;
    if (device == MUATTN_CUDA) {
        error = halide_cuda_acquire_context(&call, &queue->context, true);
        halide_cuda_release_context(&call);
        queue->queue = given_cuda.queue;
    } else if (device == MUATTN_OPENCL) {
        error = halide_acquire_cl_context(&call, &queue->context, &queue->queue, true);
        halide_release_cl_context(&call);
    } else {
        halide_vulkan_memory_allocator *allocator = nullptr;
        VkInstance_T *instance = nullptr;
        VkDevice_T *logical = nullptr;
        VkPhysicalDevice_T *physical = nullptr;
        VkQueue_T *vulkan_queue = nullptr;
        VkDebugUtilsMessengerEXT messenger{};
        error = halide_vulkan_acquire_context(&call, &allocator, &instance, &logical, &physical, &vulkan_queue,
                                              &queue->vulkan_queue_family, &messenger, true);
        halide_vulkan_release_context(&call, instance, logical, vulkan_queue, messenger);
        *queue = {logical, vulkan_queue, instance, physical, queue->vulkan_queue_family};
    }
    return error == 0 ? MUATTN_OK : fail(MUATTN_INTERNAL_ERROR, "device: error %d: %s", error, call.message);
}

// Weak in Halide's runtime. A queue that was given goes first; for CUDA then the thread's current context, which is the one that
// a framework in the same process made its tensors in.
int halide_cuda_acquire_context(void *user_context, void **context, bool create) {
    void *found = given_cuda.context != nullptr ? given_cuda.context : current_cuda_context();
    if (found != nullptr) {
        *context = found;
        return 0;
    }
    return halide_default_cuda_acquire_context(user_context, context, create);
}

int halide_cuda_get_stream(void *, void *, void **stream) {
    *stream = given_cuda.queue;
    return 0;
}

int halide_acquire_cl_context(void *user_context, void **context, void **queue, bool create) {
    while (opencl_turn.test_and_set(std::memory_order_acquire)) {
        sched_yield();
    }
    if (given_opencl.context != nullptr) {
        *context = given_opencl.context;
        *queue = given_opencl.queue;
        return 0;
    }
    if (opencl_context == nullptr && create && !create_opencl_context()) {
        opencl_turn.clear(std::memory_order_release);
        halide_error(user_context, "no OpenCL device could be opened");
        return halide_error_code_gpu_device_error;
    }
    *context = opencl_context;
    *queue = opencl_queue;
    return 0;
}

int halide_release_cl_context(void *) {
    opencl_turn.clear(std::memory_order_release);
    return 0;
}
}
