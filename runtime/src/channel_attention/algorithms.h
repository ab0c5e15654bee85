// Which kernel computes a call of channel attention, and what memory it takes.
#pragma once

#include "call.h"
#include "kernels/bind.h"

namespace muattn {

// The backend's kernel that is fastest for this call; it may take float32 alone.
Choice choose_kernel(const ChannelCall &call, int backend);
// What the kernel needs for a call.
Work work_of(const ChannelCall &call, const Kernel &kernel);

// Whether the kernel shares tokens out among spans; how long one is then, in the kernel's chunks or steps.
bool has_spans(const Kernel &kernel);
int32_t span_length(const ChannelCall &call, const Kernel &kernel);

}  // namespace muattn
