// A call of channel attention that was checked.
#pragma once

#include <cstdint>

#include "common/kernel.h"
#include "common/options.h"

namespace muattn {

// What the calls of all its functions have: sizes and options.
struct ChannelSetting {
    int64_t B = 0, H = 0, n = 0, d = 0;
    bool channels_first = false, normalize = false;
    float rule_scale = 0, output_multiplier = 1;
    PerHead scale{&rule_scale, false};

    int64_t maps() const { return B * H; }
};

struct ChannelCall : ChannelSetting {
    Argument q{"q", MUATTN_INVALID_Q, {}}, k{"k", MUATTN_INVALID_K, {}}, v{"v", MUATTN_INVALID_V, {}};
    Argument out{"out", MUATTN_INVALID_OUT, {}};
};

muattn_status check_channel_call(ChannelCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                 const muattn_tensor *v, const muattn_channel_options &options,
                                 const muattn_tensor *out);

const muattn_channel_options &or_defaults(const muattn_channel_options *options);

// The parts of these checks. A tensor of tokens: the first says what B, H, n and d are, the others are like it.
muattn_status check_layout(ChannelSetting &setting, const muattn_channel_options &options);
muattn_status check_first_tokens(ChannelSetting &setting, Argument &argument, const muattn_tensor *tensor);
muattn_status check_tokens_like(const ChannelSetting &setting, Argument &argument, const muattn_tensor *tensor,
                                const Argument &first, const char *rule);
// When sizes are known: the scale; scale and output multiplier.
muattn_status check_channel_logits(ChannelSetting &setting, const muattn_channel_options &options);
muattn_status check_channel_options(ChannelSetting &setting, const muattn_channel_options &options);

}  // namespace muattn
