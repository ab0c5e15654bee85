// Calls that run part by part: with float32 copies of what their kernel does not take, or because all at once would take too much memory.
#pragma once

#include "algorithms.h"

namespace muattn {

// Whether the kernel cannot take the call as it is.
bool needs_parts(const SpatialCall &call, const Choice &choice);

muattn_status run_in_parts(const SpatialCall &call, const Choice &choice, int backend);

}  // namespace muattn
