// What went wrong on a device, as a status and a message.
#pragma once

#include "common/halide_hooks.h"
#include "muattn/muattn.h"

namespace muattn::gpu {

// error: what a function of Halide's runtime returned; doing: what it was asked for.
muattn_status failure(const char *doing, int error, const CallContext &context);

}  // namespace muattn::gpu
