// A buffer of the caller's in the form that Halide's runtime has for it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "muattn/muattn.h"

namespace muattn::gpu {

// Layouts of Halide 21, which the project pins. Its halide_*_wrap_* functions know no offset, and the one for Vulkan stores a
// handle where its kernels look for a region.
class Wrapped {
public:
    // What to write into halide_buffer_t::device for bytes from offset of the caller's handle.
    uint64_t device_handle(muattn_device device, void *handle, size_t offset, size_t bytes) {
        switch (device) {
        case MUATTN_OPENCL: opencl_ = {offset, handle}; return reinterpret_cast<uintptr_t>(&opencl_);
        case MUATTN_VULKAN:
            vulkan_buffer_ = handle;
            vulkan_ = {};
            vulkan_.handle = &vulkan_buffer_;
            vulkan_.size = offset + bytes;
            vulkan_.head_offset = offset;
            vulkan_.is_owner = true;
            return reinterpret_cast<uintptr_t>(&vulkan_);
        default: return reinterpret_cast<uintptr_t>(handle);
        }
    }
    // The cl_mem of such a handle.
    static void *opencl_memory(uint64_t handle) {
        return reinterpret_cast<const OpenCl *>(handle)->memory;  // NOLINT(performance-no-int-to-ptr)
    }

private:
    struct OpenCl {  // device_handle in opencl.cpp
        uint64_t offset;
        void *memory;
    };
    struct Vulkan {  // MemoryRegion in internal/memory_resources.h
        void *handle;
        size_t offset, size, head_offset, tail_offset;
        bool dedicated, is_owner;
        struct {
            int visibility, usage, caching;
            size_t alignment, nearest_multiple;
        } properties;
    };
    OpenCl opencl_{};
    Vulkan vulkan_{};
    void *vulkan_buffer_ = nullptr;
};

}  // namespace muattn::gpu
