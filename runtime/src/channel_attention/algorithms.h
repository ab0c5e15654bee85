// Which kernel computes a call of channel attention, and what memory it takes.
#pragma once

#include "call.h"
#include "kernels/bind.h"

namespace muattn {

// The backend's kernel that is fastest for this call.
Choice choose_kernel(const ChannelCall &call, int backend);

// Whether the kernel shares tokens out among spans; how long one is then, in the kernel's chunks or steps.
bool has_spans(const Kernel &kernel);
int32_t span_length(const ChannelCall &call, const Kernel &kernel);

}  // namespace muattn
