// Device memory, kept between calls.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/halide_hooks.h"
#include "muattn/muattn.h"
#include "queue.h"

namespace muattn::gpu {

// A piece of device memory: Halide's handle, which it also copies by.
struct Allocation {
    muattn_device device = MUATTN_CPU;
    uint64_t handle = 0;
    size_t bytes = 0;
    QueueKey queue;  // whose work it may serve
};

// At least bytes of the device's memory, one that was given back before where it fits. MUATTN_OUT_OF_MEMORY where there is
// none.
muattn_status take(CallContext &context, muattn_device device, size_t bytes, Allocation *allocation);
void give_back(const Allocation &allocation);

// Frees what was given back and is kept.
void release();
// In a child of fork(): what is kept is the parent's.
void forget_memory();
// Bytes kept at the moment, not those in use.
size_t kept_bytes();

// Copies bytes between an allocation's start and the host.
muattn_status copy_to_device(CallContext &context, const Allocation &allocation, const void *host, size_t bytes);
muattn_status copy_to_host(CallContext &context, const Allocation &allocation, void *host, size_t bytes);

}  // namespace muattn::gpu
