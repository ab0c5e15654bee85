// The gradients of channel attention in double precision, straight from the formulas of muattn.h.
//
// With S_ij = sum_u x_ui y_uj, where x and y are Q and K or, normalised, Q_ui / max(|Q_i|, eps) and K_uj / max(|K_j|, eps), A the softmax of
// s S over j, out_ti = o sum_j A_ij V_tj, and a loss whose gradient by out is dO:
//   dA_ij = o sum_t dO_ti V_tj,  dz_ij = A_ij (dA_ij - sum_j A_ij dA_ij),
//   dx_ui = s sum_j dz_ij y_uj,  dy_uj = s sum_i dz_ij x_ui,  dV_tj = o sum_i dO_ti A_ij,
//   ds = sum_ij dz_ij S_ij,  do = sum_ti dO_ti sum_j A_ij V_tj,
// and, normalised, dQ_i = (dx_i - x_i (x_i . dx_i)) / |Q_i|, or dx_i / eps where |Q_i| is below eps; the like for K.
#pragma once

#include <vector>

#include "muattn/muattn.h"

namespace muattn::reference {

// Of one head, whatever the layout.
struct ChannelGradients {
    std::vector<double> q, k, v;  // [n, d]
    double scale = 0, output_multiplier = 0;
};

// For arguments that muattn accepts; d_out is like q. Head (b, h) is number b * H + h.
std::vector<ChannelGradients> channel_attention_backward(const muattn_tensor &q, const muattn_tensor &k,
                                                         const muattn_tensor &v, const muattn_channel_options &options,
                                                         const muattn_tensor &d_out);

}  // namespace muattn::reference
