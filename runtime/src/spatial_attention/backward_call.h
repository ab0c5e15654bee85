// A call of spatial attention's backward pass that was checked.
#pragma once

#include "call.h"

namespace muattn {

struct SpatialBackwardCall {
    SpatialCall forward;  // out and lse are inputs
    Argument d_out{"d_out", MUATTN_INVALID_D_OUT, {}}, d_lse{"d_lse", MUATTN_INVALID_D_LSE, {}};
    Argument d_q{"d_q", MUATTN_INVALID_D_Q, {}}, d_k{"d_k", MUATTN_INVALID_D_K, {}}, d_v{"d_v", MUATTN_INVALID_D_V, {}},
        d_mask{"d_mask", MUATTN_INVALID_D_MASK, {}};
    bool with_d_lse = false, wants_q = false, wants_k = false, wants_v = false, wants_mask = false;
    float *d_scale = nullptr, *d_sink = nullptr;  // [H], or null: not wanted
    float *d_output_multiplier = nullptr;         // one number, or null
};

muattn_status check_spatial_backward(SpatialBackwardCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                     const muattn_tensor *v, const muattn_tensor *out, const muattn_tensor *lse,
                                     const muattn_tensor *d_out, const muattn_tensor *d_lse,
                                     const muattn_spatial_options &options, const muattn_spatial_gradients *gradients);

// Writes what check_spatial_backward() has let pass.
muattn_status run_spatial_backward(const SpatialBackwardCall &call);

}  // namespace muattn
