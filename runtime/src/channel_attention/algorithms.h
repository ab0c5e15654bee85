// Which kernel computes a call of channel attention, and what memory it takes.
#pragma once

#include "call.h"
#include "kernels/bind.h"

namespace muattn {

struct ChannelChoice {
    const Kernel *kernel = nullptr;  // null where the build has none for the call
    Work work;
};

// The backend's kernel that is fastest for this call.
ChannelChoice choose_kernel(const ChannelCall &call, int backend);

// Whether the kernel shares tokens out among spans; how long one is then, in the kernel's chunks or steps.
bool has_spans(const Kernel &kernel);
int32_t span_length(const ChannelCall &call, const Kernel &kernel);

}  // namespace muattn
