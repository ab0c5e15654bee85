// The backends and kernels of this build, and the choice of one.
#pragma once

#include "common/kernel.h"
#include "muattn/muattn.h"

namespace muattn {

// The backend of a call whose tensors are in this device's memory: the forced one, else the best. MUATTN_INVALID_BACKEND where
// the forced one cannot reach that memory, or none can; MUATTN_UNSUPPORTED where this machine can run none.
muattn_status choose_backend(muattn_device device, int *backend);
// The device that a backend computes on.
muattn_device device_of(int backend);

// Of the backend's kernels of this algorithm that serve the need, that with the least surplus. Null where there is none, which may be no
// failure. With negative strides that of the next backend, where the backend's own do not take them.
const Kernel *find_kernel(int backend, Algorithm algorithm, const Need &need);
// The failure of a call for which there is no kernel. head_dim: the larger of d and d_v where it may be the reason, else 0.
muattn_status no_kernel(int backend, int64_t head_dim = 0);

// kHasSpatialBackward, kHasSpatialLogitStats, kHasChannelParts: whether the build has kernels for any call of these kinds. kHasOtherTypes: whether
// some take other types than float32.
#include "kernels_built.inc"

// For muattn_last_kernel().
void remember_kernel(const Kernel &kernel);
void forget_kernel();

// The end of a call whose output has no elements.
inline muattn_status no_work() {
    forget_kernel();
    return MUATTN_OK;
}

}  // namespace muattn
