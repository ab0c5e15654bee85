// What a call brings along from the host's memory, a few bytes: written without waiting for the queue.
#pragma once

#include <cstddef>

#include "memory.h"

namespace muattn::gpu {

// Puts commands into the queue that carry the bytes themselves and write them to the allocation's start, up to whole words. The host's
// memory is free again at once. False, and nothing is lost by copying instead: too many commands would be needed, or the driver has none
// that do this.
bool write_small(CallContext &context, const Allocation &allocation, const void *host, size_t bytes);

}  // namespace muattn::gpu
