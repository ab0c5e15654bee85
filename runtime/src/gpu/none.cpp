// What stands in for runtime/src/gpu in a build without GPU kernels.
#include "common/error.h"
#include "device.h"
#include "memory.h"
#include "operations.h"

namespace muattn::gpu {
namespace {

muattn_status no_gpu() { return fail(MUATTN_UNSUPPORTED, "this build has no GPU kernels"); }

}  // namespace

const char *unavailable(muattn_device) { return "this build has no GPU kernels"; }
void forget_devices_of_parent() {}
void release() {}

muattn_status run_spatial_attention(const SpatialCall &, const muattn_spatial_options &, float, int) {
    return no_gpu();
}
muattn_status run_channel_attention(const Kernel &, const Argument *const *, int64_t, const float *, bool, float) {
    return no_gpu();
}
muattn_status run_merge(const Kernel &, const Argument *const *) { return no_gpu(); }

}  // namespace muattn::gpu

extern "C" {
muattn_status muattn_set_queue(muattn_device, const muattn_queue *) { return muattn::gpu::no_gpu(); }
muattn_status muattn_get_queue(muattn_device, muattn_queue *) { return muattn::gpu::no_gpu(); }
}
