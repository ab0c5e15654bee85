// The devices that GPU kernels run on.
#pragma once

#include "muattn/muattn.h"

struct halide_device_interface_t;

namespace muattn::gpu {

// Why this machine cannot run the device's kernels; null: it can. Asked of the driver once, before Halide's runtime may touch it: that
// runtime ends the process where a Vulkan loader has no device.
const char *unavailable(muattn_device device);

const halide_device_interface_t *interface_of(muattn_device device);

}  // namespace muattn::gpu
