#include "device.h"

#include <HalideRuntime.h>
#include <HalideRuntimeCuda.h>
#include <HalideRuntimeOpenCL.h>
#include <HalideRuntimeVulkan.h>

#include <atomic>
#include <cstdint>

#include "cuda.h"
#include "drivers.h"
#include "memory.h"
#include "opencl.h"
#include "system/processor.h"

namespace muattn::gpu {
namespace {

const char *vulkan_unavailable() {
    struct InstanceCreateInfo {
        int32_t type;  // VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO
        const void *next;
        uint32_t flags;
        const void *application;
        uint32_t layer_count;
        const char *const *layers;
        uint32_t extension_count;
        const char *const *extensions;
    } const info{1, nullptr, 0, nullptr, 0, nullptr, 0, nullptr};
    const auto create = driver_function<int32_t (*)(const InstanceCreateInfo *, const void *, void **)>(
        MUATTN_VULKAN, "vkCreateInstance");
    const auto destroy = driver_function<void (*)(void *, const void *)>(MUATTN_VULKAN, "vkDestroyInstance");
    const auto devices_of =
        driver_function<int32_t (*)(void *, uint32_t *, void **)>(MUATTN_VULKAN, "vkEnumeratePhysicalDevices");
    void *instance = nullptr;
    if (create == nullptr || destroy == nullptr || devices_of == nullptr) {
        return "no Vulkan loader";
    }
    uint32_t count = 0;
    if (create(&info, nullptr, &instance) == 0) {
        devices_of(instance, &count, nullptr);
        destroy(instance, nullptr);
    }
    return count > 0 ? nullptr : "no Vulkan device";
}

constexpr char kOfParent[] =
    "its driver was asked before fork(), and works in the parent alone; a process that uses it has to be the first to "
    "ask";

// Of each device whether its driver's answer is known, the answer, and whether it was asked for.
std::atomic<bool> asked[4], begun[4];
std::atomic<const char *> answers[4];

// Whether the processor runs the host's part of GPU kernels, and Halide's runtime.
bool runs_gpu_kernels() {
    learn_processor();
    bool all = true;
#define MUATTN_GPU_BACKEND(name, condition) all = all && bool(condition);
#include "gpu_backend_table.inc"
#undef MUATTN_GPU_BACKEND
    return all;
}

const char *ask(muattn_device device) {
    if (!runs_gpu_kernels()) {
        return "the processor or its system lacks instructions that the host's part of GPU kernels takes";
    }
    switch (device) {
    case MUATTN_CPU: return nullptr;
    case MUATTN_CUDA: return cuda::unavailable();
    case MUATTN_VULKAN: return vulkan_unavailable();
    case MUATTN_OPENCL: return opencl::unavailable();
    }
    return "no such device";
}

}  // namespace

const char *unavailable(muattn_device device) {
    if (!asked[device]) {
        begun[device] = true;
        answers[device] = ask(device);
        asked[device] = true;
    }
    return answers[device];
}

void forget_devices_of_parent() {
    for (const muattn_device device : {MUATTN_CUDA, MUATTN_VULKAN, MUATTN_OPENCL}) {
        if (begun[device] && (!asked[device] || answers[device] == nullptr)) {
            answers[device] = kOfParent;
            asked[device] = true;
        }
    }
    forget_memory();
}

bool is_of_parent(muattn_device device) { return answers[device] == kOfParent; }

const halide_device_interface_t *interface_of(muattn_device device) {
    switch (device) {
    case MUATTN_CUDA: return halide_cuda_device_interface();
    case MUATTN_VULKAN: return halide_vulkan_device_interface();
    case MUATTN_OPENCL: return halide_opencl_device_interface();
    default: return nullptr;
    }
}

}  // namespace muattn::gpu
