// The devices that GPU kernels run on.
#pragma once

#include "muattn/muattn.h"

struct halide_device_interface_t;

namespace muattn::gpu {

// Why this machine cannot run the device's kernels; null: it can. Asked of the driver once, before Halide's runtime may touch it: that
// runtime ends the process where a Vulkan loader has no device.
const char *unavailable(muattn_device device);

// Nothing of a device that was opened works on in a child of fork(): from now on such a device is unavailable(). Locks, which another
// thread may have held, are free.
void forget_devices_of_parent();
bool is_of_parent(muattn_device device);

const halide_device_interface_t *interface_of(muattn_device device);

}  // namespace muattn::gpu
