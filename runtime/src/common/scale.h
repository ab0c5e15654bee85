// The scaling rule of a call of channel attention, and what spatial attention's, which is muattn_spatial_rule(), checks of causal.
#pragma once

#include "muattn/muattn.h"

namespace muattn {

// s of the rule, with alpha. most: the greatest that kernels take.
muattn_status channel_rule_scale(const muattn_channel_options &options, int64_t tokens, float most, float *scale);

// It is an enumerator.
muattn_status check_alignment(muattn_causal causal);

}  // namespace muattn
