// What tests see of the CUDA driver in cuda_driver.cpp, which computes nothing: they set its devices, and read what it was asked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace muattn::test {

struct CudaDriver {
    struct Fill {
        uint64_t address;
        uint32_t word;
        size_t count;
    };

    std::vector<int> capabilities;    // of each device, 70 for 7.0
    bool memory_has_contexts = true;  // that of pools has none

    int times_asked = 0, contexts_made = 0, launches = 0, copies = 0, waits = 0, frees = 0;
    std::vector<Fill> fills;
    void *launched_in = nullptr;  // the context of the last launch
    void *freed_in = nullptr;     // and of the last deallocation
};

}  // namespace muattn::test

extern "C" {
muattn::test::CudaDriver *muattn_test_cuda();
// The driver's own functions that tests call.
int cuCtxGetCurrent(void **context);
int cuCtxPushCurrent_v2(void *context);
int cuCtxPopCurrent_v2(void **context);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuMemAlloc_v2(uint64_t *address, size_t bytes);
}
