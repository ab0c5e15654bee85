// The last steps of every public call: scratch memory, the kernel, its status.
#pragma once

#include "common/halide_hooks.h"
#include "registry.h"

namespace muattn {

// What a kernel needs besides its arguments.
struct Work {
    int64_t tasks;             // that run at once, at most
    int64_t scratch_bytes;     // of one task
    int64_t serial_bytes = 0;  // of what lives from one parallel step to the next
};

// Reserves the work's memory, runs the kernel on arguments and translates its result. arguments[0] is left free for the
// user context.
muattn_status run_kernel(const Kernel &kernel, void **arguments, const Work &work);

// The end of a call whose output has no elements.
inline muattn_status no_work() {
    forget_kernel();
    return MUATTN_OK;
}

}  // namespace muattn
