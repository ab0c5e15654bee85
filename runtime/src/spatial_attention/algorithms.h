// Which kernel computes a call of spatial attention, and what memory it takes.
#pragma once

#include "kernels/run.h"
#include "call.h"

namespace muattn {

// The backend's kernel that is fastest for this call. Null where the build has none for it. Negative strides: as in find_kernel().
const Kernel *choose_spatial_kernel(const SpatialCall &call, const muattn_spatial_options &options, int backend,
                                    bool negative_strides);

Work work_of(const SpatialCall &call, const Kernel &kernel);

}  // namespace muattn
