// Which kernel computes a call of spatial attention, and what memory it takes.
#pragma once

#include "call.h"
#include "kernels/bind.h"

namespace muattn {

struct SpatialChoice {
    const Kernel *kernel = nullptr;  // null where the build has none for the call
    Work work;
};

// The backend's kernel that is fastest for this call.
SpatialChoice choose_kernel(const SpatialCall &call, int backend);

}  // namespace muattn
