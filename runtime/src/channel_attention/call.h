// A call of channel attention that was checked.
#pragma once

#include <cstdint>

#include "common/kernel.h"
#include "common/options.h"

namespace muattn {

struct ChannelCall {
    Argument q{"q", MUATTN_INVALID_Q, {}}, k{"k", MUATTN_INVALID_K, {}}, v{"v", MUATTN_INVALID_V, {}};
    Argument out{"out", MUATTN_INVALID_OUT, {}};
    int64_t B = 0, H = 0, n = 0, d = 0;
    bool channels_first = false, normalize = false;
    float rule_scale = 0, output_multiplier = 1;
    PerHead scale{&rule_scale, false};

    int64_t maps() const { return B * H; }
};

muattn_status check_channel_call(ChannelCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                 const muattn_tensor *v, const muattn_channel_options &options,
                                 const muattn_tensor *out);

}  // namespace muattn
