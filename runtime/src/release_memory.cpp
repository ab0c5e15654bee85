// Gives back what is kept between calls: scratch memory, and memory of devices.
#include "common/memory.h"
#include "gpu/memory.h"

extern "C" void muattn_release_memory(void) {
    muattn::release_scratch();
    muattn::gpu::release();
}
