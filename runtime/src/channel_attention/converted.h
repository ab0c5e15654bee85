// Calls in 16 bits whose kernel takes float32.
#pragma once

#include "algorithms.h"

namespace muattn {

// Runs the kernel on some heads after the other, with float32 copies of their tokens.
muattn_status run_converted(const ChannelCall &call, const Kernel &kernel, int backend);

}  // namespace muattn
