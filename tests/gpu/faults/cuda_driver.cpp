// A CUDA driver with as many devices as a test sets, none at first: it keeps memory and contexts, runs no kernel, and counts what it is
// asked for.
#include "cuda_driver.h"

#include <cstdlib>
#include <cstring>
#include <map>

using namespace muattn::test;

namespace {

constexpr int kInvalid = 1, kNoContext = 201;

struct Context {
    int device;
};

// Never destroyed: Halide's runtime comes back at the end of the process.
CudaDriver &driver = *new CudaDriver;
std::map<uint64_t, Context *> &memory = *new std::map<uint64_t, Context *>;
std::map<int, Context> &primary = *new std::map<int, Context>;
thread_local std::vector<Context *> stack;

Context *current() { return stack.empty() ? nullptr : stack.back(); }

int copy(void *to, const void *from, size_t bytes) {
    driver.copies++;
    memcpy(to, from, bytes);
    return 0;
}
void *pointer(uint64_t address) { return reinterpret_cast<void *>(address); }

}  // namespace

extern "C" {

CudaDriver *muattn_test_cuda() { return &driver; }

// Devices.
int cuInit(unsigned) { return 0; }
int cuDeviceGetCount(int *count) {
    driver.times_asked++;
    *count = int(driver.capabilities.size());
    return 0;
}
int cuDeviceGet(int *device, int index) {
    *device = index;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    constexpr int kMajor = 75, kMinor = 76;
    const int capability = driver.capabilities.at(size_t(device));
    *value = attribute == kMajor ? capability / 10 : attribute == kMinor ? capability % 10 : 1;
    return 0;
}
int cuDeviceGetName(char *, int, int) { return kInvalid; }
int cuDeviceTotalMem_v2(size_t *, int) { return kInvalid; }

// Contexts.
int cuCtxPushCurrent_v2(void *context) {
    stack.push_back(static_cast<Context *>(context));
    return 0;
}
int cuCtxPopCurrent_v2(void **context) {
    if (stack.empty()) {
        return kNoContext;
    }
    *context = stack.back();
    stack.pop_back();
    return 0;
}
int cuCtxCreate_v2(void **context, unsigned, int device) {
    driver.contexts_made++;
    *context = new Context{device};
    return cuCtxPushCurrent_v2(*context);
}
int cuCtxDestroy_v2(void *context) {
    delete static_cast<Context *>(context);
    return 0;
}
int cuCtxGetApiVersion(void *, unsigned *version) {
    *version = 12000;
    return 0;
}
int cuCtxGetCurrent(void **context) {
    *context = current();
    return 0;
}
int cuCtxGetDevice(int *device) {
    if (current() == nullptr) {
        return kNoContext;
    }
    *device = current()->device;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = &primary.emplace(device, Context{device}).first->second;
    return 0;
}
int cuProfilerStop() { return 0; }

// Memory.
int cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    if (current() == nullptr) {
        return kNoContext;
    }
    *address = reinterpret_cast<uintptr_t>(malloc(bytes));
    memory[*address] = current();
    return 0;
}
int cuMemFree_v2(uint64_t address) {
    driver.frees++;
    driver.freed_in = current();
    memory.erase(address);
    free(pointer(address));
    return 0;
}
int cuPointerGetAttribute(void *value, int attribute, uint64_t address) {
    constexpr int kContext = 1, kDevice = 9;
    const auto owner = memory.find(address);
    if (owner == memory.end()) {
        return kInvalid;
    }
    if (attribute == kContext) {
        Context *const context = driver.memory_has_contexts ? owner->second : nullptr;
        memcpy(value, &context, sizeof context);
        return 0;
    }
    if (attribute == kDevice) {
        memcpy(value, &owner->second->device, sizeof(int));
        return 0;
    }
    return kInvalid;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
    driver.waits++;
    return copy(pointer(to), from, bytes);
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) {
    driver.waits++;
    return copy(to, pointer(from), bytes);
}
int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) { return copy(pointer(to), pointer(from), bytes); }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) { return copy(pointer(to), from, bytes); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) { return copy(to, pointer(from), bytes); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *) {
    return copy(pointer(to), pointer(from), bytes);
}
int cuMemcpy3D_v2(const void *) { return kInvalid; }
int cuMemsetD32Async(uint64_t address, uint32_t word, size_t count, void *) {
    if (current() == nullptr) {
        return kNoContext;
    }
    driver.fills.push_back({address, word, count});
    for (size_t i = 0; i < count; i++) {
        memcpy(pointer(address + i * sizeof word), &word, sizeof word);
    }
    return 0;
}

// Kernels and queues.
int cuModuleLoadData(void **module, const void *) {
    *module = &driver;
    return 0;
}
int cuModuleLoadDataEx(void **module, const void *image, unsigned, int *, void **) {
    return cuModuleLoadData(module, image);
}
int cuModuleUnload(void *) { return 0; }
int cuModuleGetFunction(void **function, void *, const char *) {
    *function = &driver;
    return 0;
}
int cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                   void **) {
    driver.launches++;
    driver.launched_in = current();
    return 0;
}
int cuCtxSynchronize() {
    driver.waits++;
    return 0;
}
int cuStreamSynchronize(void *) {
    driver.waits++;
    return 0;
}
}
