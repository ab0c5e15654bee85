// What the kernels' private Halide runtime asks of its host: errors, memory and threads.
#pragma once

#include <atomic>
#include <cstdint>

#include "memory.h"
#include "muattn/muattn.h"
#include "system/thread_pool.h"

namespace muattn {

// Handed to a kernel as its user_context: lives as long as the call.
struct CallContext {
    // Tells it from what Halide's allocator on Vulkan hands to halide_error() in its place: itself.
    static constexpr uint64_t kMark = 0x6d75617474'63616c;
    uint64_t mark = kMark;
    SlabPool slabs;
    std::atomic<int> failed{0};  // not bool: exchanging a byte takes libatomic on RISC-V
    char message[256] = "";
};

// Before a kernel runs.
void install_hooks();

// The threads that loops run on, other than the pool's own: run() is as thread_pool::run(), threads() says how many there are for a call of the
// calling thread. Null: the pool's own again. A caller's parallel-for is forgotten.
struct ThreadSource {
    decltype(&thread_pool::run) run = nullptr;
    int (*threads)() = nullptr;
};
void set_thread_source(const ThreadSource *source);

// function(context, i) for i in [0, count), on the threads that kernels run on. Returns when all are done.
void run_parallel(int count, muattn_task function, void *context);

// The same for a task that calls kernels: with a slab of the call's. Gives the error of the first that fails, 0 where none does. What had not
// begun then is left out, unless the threads are the caller's.
using KernelTask = int (*)(void *context, int index);
int run_kernel_tasks(CallContext &call, int count, KernelTask function, void *context);

}  // namespace muattn
