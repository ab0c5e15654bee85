// Channel attention in double precision, straight from the formulas of muattn.h.
#pragma once

#include <vector>

#include "muattn/muattn.h"

namespace muattn::reference {

// One head's result, whatever the layout, and the sizes that an error model asks for (see sizes.h): by map row, and by token.
struct ChannelHead {
    std::vector<double> out;         // [n, d]
    std::vector<double> logit_size;  // [d]: max_j |s| sum_u |Q_ui K_uj|
    std::vector<double> value_size;  // [n]: max_j |o V_tj|
};

// For arguments that muattn accepts. Head (b, h) is number b * H + h.
std::vector<ChannelHead> channel_attention_forward(const muattn_tensor &q, const muattn_tensor &k,
                                                   const muattn_tensor &v, const muattn_channel_options &options);

}  // namespace muattn::reference
