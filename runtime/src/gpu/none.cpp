// What stands in for runtime/src/gpu in a build without GPU kernels.
#include "common/error.h"
#include "device.h"
#include "memory.h"

namespace muattn::gpu {
namespace {

muattn_status no_gpu() { return fail(MUATTN_UNSUPPORTED, "this build has no GPU kernels"); }

}  // namespace

const char *unavailable(muattn_device) { return "this build has no GPU kernels"; }
void forget_devices_of_parent() {}
void release() {}

}  // namespace muattn::gpu

extern "C" {
muattn_status muattn_set_queue(muattn_device, const muattn_queue *) { return muattn::gpu::no_gpu(); }
muattn_status muattn_get_queue(muattn_device, muattn_queue *) { return muattn::gpu::no_gpu(); }
}
