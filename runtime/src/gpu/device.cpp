#include "device.h"

#include <HalideRuntime.h>
#include <HalideRuntimeCuda.h>
#include <HalideRuntimeOpenCL.h>
#include <HalideRuntimeVulkan.h>

#include <atomic>
#include <cstdint>

#include "drivers.h"

namespace muattn::gpu {
namespace {

// The few functions and numbers of the drivers' C interfaces that are needed here; their headers are not, so that the library
// builds without them.

bool cuda_has_device() {
    const auto init = driver_function<int (*)(unsigned)>(MUATTN_CUDA, "cuInit");
    const auto count_of = driver_function<int (*)(int *)>(MUATTN_CUDA, "cuDeviceGetCount");
    int count = 0;
    return init != nullptr && count_of != nullptr && init(0) == 0 && count_of(&count) == 0 && count > 0;
}

bool opencl_has_device() {
    constexpr uint32_t kMaxPlatforms = 16;
    constexpr uint64_t kAllDevices = 0xffffffff;
    const auto platforms_of =
        driver_function<int32_t (*)(uint32_t, void **, uint32_t *)>(MUATTN_OPENCL, "clGetPlatformIDs");
    const auto devices_of =
        driver_function<int32_t (*)(void *, uint64_t, uint32_t, void **, uint32_t *)>(MUATTN_OPENCL, "clGetDeviceIDs");
    void *platforms[kMaxPlatforms];
    uint32_t count = 0;
    if (platforms_of == nullptr || devices_of == nullptr || platforms_of(kMaxPlatforms, platforms, &count) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < count && i < kMaxPlatforms; i++) {  // as create_opencl_context() looks for one
        uint32_t devices = 0;
        if (devices_of(platforms[i], kAllDevices, 0, nullptr, &devices) == 0 && devices > 0) {
            return true;
        }
    }
    return false;
}

bool vulkan_has_device() {
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
    if (create == nullptr || destroy == nullptr || devices_of == nullptr || create(&info, nullptr, &instance) != 0) {
        return false;
    }
    uint32_t count = 0;
    const bool found = devices_of(instance, &count, nullptr) == 0 && count > 0;
    destroy(instance, nullptr);
    return found;
}

bool has_device(muattn_device device) {
    switch (device) {
    case MUATTN_CPU: return true;
    case MUATTN_CUDA: return cuda_has_device();
    case MUATTN_VULKAN: return vulkan_has_device();
    case MUATTN_OPENCL: return opencl_has_device();
    }
    return false;
}

}  // namespace

bool available(muattn_device device) {
    enum Answer { unknown, no, yes };
    static std::atomic<int> answers[4];
    if (answers[device] == unknown) {
        answers[device] = has_device(device) ? yes : no;
    }
    return answers[device] == yes;
}

const halide_device_interface_t *interface_of(muattn_device device) {
    switch (device) {
    case MUATTN_CUDA: return halide_cuda_device_interface();
    case MUATTN_VULKAN: return halide_vulkan_device_interface();
    case MUATTN_OPENCL: return halide_opencl_device_interface();
    default: return nullptr;
    }
}

}  // namespace muattn::gpu
