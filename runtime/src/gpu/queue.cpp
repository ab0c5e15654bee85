#include "queue.h"

#include <HalideRuntime.h>
#include <HalideRuntimeVulkan.h>
#include <sched.h>

#include <atomic>
#include <new>

#include "common/error.h"
#include "common/halide_hooks.h"
#include "cuda.h"
#include "device.h"
#include "opencl.h"

// Of Halide's runtime, which has no headers for them.
extern "C" {
int halide_cuda_acquire_context(void *user_context, void **context, bool create);
int halide_cuda_release_context(void *user_context);
int halide_acquire_cl_context(void *user_context, void **context, void **queue, bool create);
int halide_release_cl_context(void *user_context);
}

namespace muattn::gpu {
namespace {

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

QueueKey queue_key(muattn_device device) {
    switch (device) {
    case MUATTN_CUDA: return {cuda::context(), cuda::given().queue};
    case MUATTN_OPENCL: return {opencl::given().context, opencl::given().queue};
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
    case MUATTN_CUDA: cuda::given() = given; return MUATTN_OK;
    case MUATTN_OPENCL:
        if ((given.context == nullptr) != (given.queue == nullptr)) {
            return fail(MUATTN_INVALID_ARGUMENT, "queue: OpenCL needs both a context and a queue of it");
        }
        opencl::given() = given;
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
    if (const char *why = unavailable(device)) {
        return fail(MUATTN_INVALID_BACKEND, "device: this machine has none of this kind: %s", why);
    }
    open(device);
    CallContext call;
    int error = 0;
    if (device == MUATTN_CUDA) {
        error = halide_cuda_acquire_context(&call, &queue->context, true);
        halide_cuda_release_context(&call);
        queue->queue = cuda::given().queue;
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
}
