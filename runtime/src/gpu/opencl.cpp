#include "opencl.h"

#include <HalideRuntime.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "common/halide_hooks.h"
#include "drivers.h"

// Of Halide's runtime, which has no headers for them.
extern "C" {
int halide_acquire_cl_context(void *user_context, void **context, void **queue, bool create);
int halide_release_cl_context(void *user_context);
}

namespace muattn::gpu::opencl {
namespace {

template<typename Function>
Function function(const char *name) {
    return driver_function<Function>(MUATTN_OPENCL, name);
}
using Info = int32_t (*)(void *, uint32_t, size_t, void *, size_t *);

thread_local muattn_queue given_queue{};

// The library's own, and whose turn it is.
std::atomic_flag turn = ATOMIC_FLAG_INIT;
void *own_context = nullptr, *own_queue = nullptr;

// A variable that is empty is as good as none.
const char *setting(const char *name) {
    const char *value = getenv(name);
    return value != nullptr && *value != 0 ? value : nullptr;
}

bool has_wanted_name(void *platform) {
    constexpr uint32_t kName = 0x0902;
    const char *wanted = setting("HL_OCL_PLATFORM_NAME");
    const auto info = function<Info>("clGetPlatformInfo");
    char name[256] = "";
    return wanted == nullptr || (info != nullptr && info(platform, kName, sizeof name - 1, name, nullptr) == 0 &&
                                 strstr(name, wanted) != nullptr);
}

// The first device that takes(device) is true for, or null: those of all platforms, GPUs first, then accelerators, then processors. The
// settings are Halide's, whose own search they no longer reach: part of a platform's name, types ("gpu,acc,cpu"), and which one of those
// that are left, from 0.
template<typename Takes>
void *find_device(const Takes &takes) {
    constexpr uint32_t kMost = 16;
    constexpr struct {
        uint64_t type;
        const char *name;
    } kTypes[] = {{4, "gpu"}, {8, "acc"}, {2, "cpu"}};
    const auto platforms_of = function<int32_t (*)(uint32_t, void **, uint32_t *)>("clGetPlatformIDs");
    const auto devices_of = function<int32_t (*)(void *, uint64_t, uint32_t, void **, uint32_t *)>("clGetDeviceIDs");
    const char *types = setting("HL_OCL_DEVICE_TYPE"), *number = setting("HL_GPU_DEVICE");
    int before = number != nullptr ? atoi(number) : -1;
    void *platforms[kMost], *devices[kMost];
    uint32_t platform_count = 0;
    if (platforms_of == nullptr || devices_of == nullptr || platforms_of(kMost, platforms, &platform_count) != 0) {
        return nullptr;
    }
    for (const auto &[type, name] : kTypes) {
        if (types != nullptr && strstr(types, name) == nullptr) {
            continue;
        }
        for (uint32_t p = 0; p < std::min(platform_count, kMost); p++) {
            uint32_t count = 0;
            if (!has_wanted_name(platforms[p]) || devices_of(platforms[p], type, kMost, devices, &count) != 0) {
                continue;
            }
            for (uint32_t i = 0; i < std::min(count, kMost); i++) {
                if (before > 0) {
                    before--;
                } else if (takes(devices[i])) {
                    return devices[i];
                } else if (before == 0) {  // that one was asked for
                    return nullptr;
                }
            }
        }
    }
    return nullptr;
}

bool open_own() {
    using Properties = const intptr_t *;
    const auto new_context =
        function<void *(*)(Properties, uint32_t, void *const *, void *, void *, int32_t *)>("clCreateContext");
    const auto new_queue = function<void *(*)(void *, void *, uint64_t, int32_t *)>("clCreateCommandQueue");
    const auto release = function<int32_t (*)(void *)>("clReleaseContext");
    if (new_context == nullptr || new_queue == nullptr || release == nullptr) {
        return false;
    }
    return find_device([&](void *device) {
               int32_t error = 0;
               void *const context = new_context(nullptr, 1, &device, nullptr, nullptr, &error);
               if (error != 0) {
                   return false;
               }
               void *const queue = new_queue(context, device, 0, &error);
               if (error != 0) {
                   release(context);
                   return false;
               }
               own_context = context;
               own_queue = queue;
               return true;
           }) != nullptr;
}

}  // namespace

const char *unavailable() {
    if (driver_symbol(MUATTN_OPENCL, "clGetPlatformIDs") == nullptr) {
        return "no OpenCL loader";
    }
    return find_device([](void *) { return true; }) != nullptr
               ? nullptr
               : "no OpenCL device, or none that HL_OCL_PLATFORM_NAME, HL_OCL_DEVICE_TYPE and HL_GPU_DEVICE leave";
}

muattn_queue &given() { return given_queue; }

size_t shared_bytes() {
    constexpr uint32_t kQueueDevice = 0x1091, kLocalMemorySize = 0x1023;
    const auto queue_info = function<Info>("clGetCommandQueueInfo"), device_info = function<Info>("clGetDeviceInfo");
    CallContext call;
    void *context = nullptr, *queue = nullptr, *device = nullptr;
    uint64_t bytes = 0;
    if (halide_acquire_cl_context(&call, &context, &queue, true) != 0) {
        return SIZE_MAX;
    }
    const bool known = queue_info(queue, kQueueDevice, sizeof device, &device, nullptr) == 0 &&
                       device_info(device, kLocalMemorySize, sizeof bytes, &bytes, nullptr) == 0;
    halide_release_cl_context(&call);
    return known ? size_t(bytes) : SIZE_MAX;
}

}  // namespace muattn::gpu::opencl

// Weak in Halide's runtime.
extern "C" {

using namespace muattn::gpu::opencl;

int halide_acquire_cl_context(void *user_context, void **context, void **queue, bool create) {
    if (!create) {  // the end of the process, where Halide would call functions that it loads with its first kernel
        *context = *queue = nullptr;
        turn.test_and_set(std::memory_order_acquire);
        return 0;
    }
    while (turn.test_and_set(std::memory_order_acquire)) {
        sched_yield();
    }
    if (given_queue.context != nullptr) {
        *context = given_queue.context;
        *queue = given_queue.queue;
        return 0;
    }
    if (own_context == nullptr && !open_own()) {
        turn.clear(std::memory_order_release);
        halide_error(user_context, "no OpenCL device could be opened");
        return halide_error_code_gpu_device_error;
    }
    *context = own_context;
    *queue = own_queue;
    return 0;
}

int halide_release_cl_context(void *) {
    turn.clear(std::memory_order_release);
    return 0;
}
}
