// The drivers' shared libraries: found at run time, by the names that users' machines have. The few functions and numbers of their C
// interfaces that are needed stand where they are used; headers are not needed, so that the library builds without them.
#pragma once

#include "muattn/muattn.h"

namespace muattn::gpu {

// A function of the device's driver, or null.
void *driver_symbol(muattn_device device, const char *name);

template<typename Function>
Function driver_function(muattn_device device, const char *name) {
    return reinterpret_cast<Function>(driver_symbol(device, name));
}

}  // namespace muattn::gpu
