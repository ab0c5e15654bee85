// The devices that GPU kernels run on.
#pragma once

#include "muattn/muattn.h"

struct halide_device_interface_t;

namespace muattn::gpu {

// Whether this machine has a driver and a device for it. Asked of the driver once, before Halide's runtime may touch it: that
// runtime ends the process where a Vulkan loader has no device.
bool available(muattn_device device);

const halide_device_interface_t *interface_of(muattn_device device);

}  // namespace muattn::gpu
