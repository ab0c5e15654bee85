// The last steps of every public call: scratch memory, the kernel, its status.
#pragma once

#include "halide_hooks.h"
#include "registry.h"

namespace muattn {

// Reserves scratch_bytes for each task that can run at once, runs the kernel on arguments and translates its result.
// arguments[0] is left free for the user context.
muattn_status run_kernel(const Kernel &kernel, void **arguments, int64_t tasks, size_t scratch_bytes);

}  // namespace muattn
