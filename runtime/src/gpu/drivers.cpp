#include "drivers.h"

#include <dlfcn.h>

#include <atomic>

namespace muattn::gpu {
namespace {

// What a driver's package installs; the name without a number comes with development files only.
const char *library_of(muattn_device device) {
    switch (device) {
    case MUATTN_CUDA: return "libcuda.so.1";
    case MUATTN_VULKAN: return "libvulkan.so.1";
    case MUATTN_OPENCL: return "libOpenCL.so.1";
    default: return nullptr;
    }
}

void *library(muattn_device device) {
    static std::atomic<void *> handles[4];
    void *handle = handles[device];
    if (handle == nullptr) {
        // Opened twice by two threads it is the same handle.
        handle = dlopen(library_of(device), RTLD_NOW | RTLD_LOCAL);
        handles[device] = handle;
    }
    return handle;
}

}  // namespace

void *driver_symbol(muattn_device device, const char *name) {
    void *const handle = library(device);
    return handle != nullptr ? dlsym(handle, name) : nullptr;
}

}  // namespace muattn::gpu

// Weak in Halide's runtime, which looks for names without a number.
extern "C" {
void *halide_cuda_get_symbol(void *, const char *name) { return muattn::gpu::driver_symbol(MUATTN_CUDA, name); }
void *halide_vulkan_get_symbol(void *, const char *name) { return muattn::gpu::driver_symbol(MUATTN_VULKAN, name); }
void *halide_opencl_get_symbol(void *, const char *name) { return muattn::gpu::driver_symbol(MUATTN_OPENCL, name); }
}
