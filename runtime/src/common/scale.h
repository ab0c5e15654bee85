// The scaling rule of a call of channel attention. That of spatial attention is muattn_spatial_rule().
#pragma once

#include "muattn/muattn.h"

namespace muattn {

// s of the rule, with alpha. most: the greatest that kernels take.
muattn_status channel_rule_scale(const muattn_channel_options &options, int64_t tokens, float most, float *scale);

}  // namespace muattn
