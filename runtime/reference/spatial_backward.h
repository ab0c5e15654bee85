// The gradients of spatial attention in double precision, straight from the formulas of muattn.h.
//
// With t = s q_i . k_j, z_j = c tanh(t / c) + mask_j (z_j = t + mask_j without softcap), p_j = exp(z_j - lse_i), out_i = o sum_j p_j v_j, and a
// loss whose gradients by out_i and lse_i are dO_i and dlse_i:
//   D_i = dO_i . out_i,  dz_j = p_j (o dO_i . v_j - D_i + dlse_i),  dt_j = dz_j (1 - tanh(t / c)^2),
//   dq_i = s sum_j dt_j k_j,  dk_j = s sum_i dt_j q_i,  dv_j = o sum_i p_j dO_i,
//   ds = sum_ij dt_j q_i . k_j,  dmask_j = dz_j,  dsink = sum_i exp(sink - lse_i) (dlse_i - D_i),  do = sum_i D_i / o.
// out and lse may be those of more keys than are given here (Dao 2023, "FlashAttention-2", has the derivation; for a part of the keys it
// holds term by term).
#pragma once

#include <vector>

#include "muattn/muattn.h"

namespace muattn::reference {

// All dense and row-major.
struct SpatialGradients {
    std::vector<double> q, k, v;      // in the shapes of q, k and v
    std::vector<double> scale, sink;  // [H]
    std::vector<double> mask;         // in the mask's shape; empty without an additive mask
    double output_multiplier = 0;     // no number where o is 0
};

// For arguments that muattn accepts: out and d_out [B, H, n_q, d_v], lse and d_lse [B, H, n_q, 1]; d_lse null: 0.
SpatialGradients spatial_attention_backward(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                            const muattn_spatial_options &options, const muattn_tensor &out,
                                            const muattn_tensor &lse, const muattn_tensor &d_out,
                                            const muattn_tensor *d_lse);

}  // namespace muattn::reference
