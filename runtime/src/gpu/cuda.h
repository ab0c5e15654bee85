// CUDA's driver, as far as it is the library's to ask: devices that run the kernels, and the context of a call.
#pragma once

#include "muattn/muattn.h"

namespace muattn::gpu::cuda {

// Why no device here runs the kernels; null: one does.
const char *unavailable();

// What muattn_set_queue() gave this thread.
muattn_queue &given();

// Where the thread's calls go: the context that was given, else the thread's current one. Null:
// Halide's runtime makes one.
void *context();

}  // namespace muattn::gpu::cuda
