// What the kernels' private Halide runtime asks of its host: errors, memory and threads.
#pragma once

#include <atomic>

#include "memory.h"

namespace muattn {

// Handed to a kernel as its user_context: lives as long as the call.
struct CallContext {
    SlabPool slabs;
    std::atomic<int> failed{0};  // not bool: exchanging a byte takes libatomic on RISC-V
    char message[256] = "";
};

// Before a kernel runs.
void install_hooks();

}  // namespace muattn
