#include "queue.h"

#include <HalideRuntime.h>
#include <HalideRuntimeVulkan.h>
#include <sched.h>

#include <atomic>
#include <new>

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

struct VulkanContext {
    halide_vulkan_memory_allocator *allocator = nullptr;
    VkInstance_T *instance = nullptr;
    VkDevice_T *device = nullptr;
    VkPhysicalDevice_T *physical_device = nullptr;
    VkQueue_T *queue = nullptr;
    uint32_t queue_family = 0;
    VkDebugUtilsMessengerEXT messenger{};

    // Makes the device where there is none yet.
    int acquire_and_release(CallContext *call) {
        const int error = halide_vulkan_acquire_context(call, &allocator, &instance, &device, &physical_device, &queue,
                                                        &queue_family, &messenger, true);
        halide_vulkan_release_context(call, instance, device, queue, messenger);
        return error;
    }
};

}  // namespace

// Halide's allocator on Vulkan reports to the call that made it, however long ago that was: here one that does not end.
void open(muattn_device device) {
    if (device != MUATTN_VULKAN) {
        return;
    }
    static std::atomic_flag busy = ATOMIC_FLAG_INIT;
    static bool opened = false;
    alignas(CallContext) static char memory[sizeof(CallContext)];
    while (busy.test_and_set(std::memory_order_acquire)) {
        sched_yield();
    }
    if (!opened) {
        VulkanContext().acquire_and_release(new (memory) CallContext);
        opened = true;
    }
    busy.clear(std::memory_order_release);
}

size_t shared_bytes(muattn_device device) {
    if (device != MUATTN_OPENCL) {
        return SIZE_MAX;
    }
    constexpr uint32_t kQueueDevice = 0x1091, kLocalMemorySize = 0x1023;
    using Info = int32_t (*)(void *, uint32_t, size_t, void *, size_t *);
    const auto queue_info = driver_function<Info>(MUATTN_OPENCL, "clGetCommandQueueInfo"),
               device_info = driver_function<Info>(MUATTN_OPENCL, "clGetDeviceInfo");
    CallContext call;
    void *context = nullptr, *queue = nullptr, *of_queue = nullptr;
    uint64_t bytes = 0;
    if (halide_acquire_cl_context(&call, &context, &queue, true) != 0) {
        return SIZE_MAX;
    }
    const bool known = queue_info(queue, kQueueDevice, sizeof of_queue, &of_queue, nullptr) == 0 &&
                       device_info(of_queue, kLocalMemorySize, sizeof bytes, &bytes, nullptr) == 0;
    halide_release_cl_context(&call);
    return known ? size_t(bytes) : SIZE_MAX;
}

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
    open(device);
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
        VulkanContext vulkan;
        error = vulkan.acquire_and_release(&call);
        *queue = {vulkan.device, vulkan.queue, vulkan.instance, vulkan.physical_device, vulkan.queue_family};
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
    if (!create) {  // the end of the process, where Halide would call functions that it loads with its first kernel
        *context = *queue = nullptr;
        opencl_turn.test_and_set(std::memory_order_acquire);
        return 0;
    }
    while (opencl_turn.test_and_set(std::memory_order_acquire)) {
        sched_yield();
    }
    if (given_opencl.context != nullptr) {
        *context = given_opencl.context;
        *queue = given_opencl.queue;
        return 0;
    }
    if (opencl_context == nullptr && !create_opencl_context()) {
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
