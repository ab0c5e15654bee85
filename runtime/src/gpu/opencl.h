// OpenCL's devices: which one the library takes, and the context and queue of a call.
#pragma once

#include <cstddef>

#include "muattn/muattn.h"

namespace muattn::gpu::opencl {

// Why no device here runs the kernels; null: one does.
const char *unavailable();

// What muattn_set_queue() gave this thread.
muattn_queue &given();

// What a thread block may share on the device of the thread's queue, in bytes; SIZE_MAX where that is not known.
size_t shared_bytes();

}  // namespace muattn::gpu::opencl
