// Which kernel computes a call of spatial attention, and what memory it takes.
#pragma once

#include "call.h"
#include "kernels/bind.h"

namespace muattn {

// The backend's kernel that is fastest for this call.
Choice choose_kernel(const SpatialCall &call, int backend);
// What a kernel of a processor needs for a call.
Work work_of(const SpatialCall &call, const Kernel &kernel);

}  // namespace muattn
