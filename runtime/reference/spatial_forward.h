// Spatial attention in double precision, straight from the formulas of muattn.h.
#pragma once

#include <cstdint>
#include <vector>

#include "muattn/muattn.h"

namespace muattn::reference {

// One query's result, and the sizes that an error model asks for (see sizes.h).
struct SpatialRow {
    std::vector<double> out;  // d_v numbers
    double lse = 0;
    // max of |logit| after softcap, 0 without. Counts twice in logit_size: tanh has a relative error of 5e-7, as four roundings.
    double capped_size = 0;
    double logit_size = 0;  // max over visible j of |s| sum_e |q_e k_je| and |mask_j|, plus 2 capped_size
    double value_size = 0;  // |o| times the max over visible j and e of |v_je|
    int64_t visible = 0;    // keys
};

// For arguments that muattn accepts. Row (b, h, i) is number (b * H + h) * n_q + i.
std::vector<SpatialRow> spatial_attention_forward(const muattn_tensor &q, const muattn_tensor &k,
                                                  const muattn_tensor &v, const muattn_spatial_options &options);

}  // namespace muattn::reference
