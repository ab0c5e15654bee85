// Calls in 16 bits whose kernel takes float32.
#pragma once

#include "algorithms.h"

namespace muattn {

// Whether the kernel takes the call's tensors as they are.
bool takes_types(const Kernel &kernel, const SpatialCall &call);

// Runs the kernel on one part of the call after the other, with float32 copies of what it does not take.
muattn_status run_converted(const SpatialCall &call, const Choice &choice, int backend);

}  // namespace muattn
