// A call of spatial attention that was checked.
#pragma once

#include <cstdint>

#include "common/kernel.h"
#include "common/options.h"
#include "visible_keys.h"

namespace muattn {

extern const float no_sink;  // -inf

struct SpatialCall {
    SpatialCall();  // in one place, for the size of small libraries
    Argument q{"q", MUATTN_INVALID_Q, {}}, k{"k", MUATTN_INVALID_K, {}}, v{"v", MUATTN_INVALID_V, {}};
    Argument out{"out", MUATTN_INVALID_OUT, {}}, lse{"lse", MUATTN_INVALID_LSE, {}},
        mask{"mask", MUATTN_INVALID_MASK, {}};
    Argument k_scale{"k_scale", MUATTN_INVALID_K, {}},
        v_scale{"v_scale", MUATTN_INVALID_V, {}};  // where k and v are int8
    bool with_lse = false, with_mask = false, with_key_lengths = false;
    int64_t B = 0, H = 0, Hk = 0, n_q = 0, n_k = 0, d = 0, d_v = 0;
    float rule_scale = 0, output_multiplier = 1, softcap = 0;
    PerHead scale{&rule_scale, false}, sink{&no_sink, false};
    VisibleKeysOfBatch visible;
    int32_t window_first = 0, window_last = 0;  // the least and the greatest of all batch entries

    bool is_empty() const { return B == 0 || H == 0 || n_q == 0; }  // there is nothing to write
    bool with_row_scales() const { return k.tensor.dtype == MUATTN_INT8; }
    // Every query sees every key, as far as causal and window say.
    bool no_window() const;
    // Query heads to a key/value head; rows that share a key.
    int64_t group() const { return H / Hk; }
    int64_t shared_rows() const { return n_q * group(); }
};

const muattn_spatial_options &or_defaults(const muattn_spatial_options *options);
// Of a call for the logits alone, which has no values.
muattn_status check_spatial_logits(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                   const muattn_spatial_options &options);
// Of one number per row of q: [B, H, n_q, 1].
muattn_status check_rows(Argument &argument, const muattn_tensor *tensor, const SpatialCall &call);
// All but that out and lse may be written. of_keys: what k and v may be.
muattn_status check_spatial_inputs(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                   const muattn_tensor *v, const muattn_spatial_options &options,
                                   const muattn_tensor *out, const muattn_tensor *lse, const TensorRules &of_keys);
muattn_status check_spatial_call(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                 const muattn_tensor *v, const muattn_spatial_options &options,
                                 const muattn_tensor *out, const muattn_tensor *lse);

// A call without keys, as one with a key that no query sees: a kernel has at least one. Nothing of k, v or the mask is read.
void put_a_hidden_key(SpatialCall &call);

// A kernel takes both kinds of mask; where the call has none, one that lets everything pass, dense along keys.
const Argument &no_additive_mask();
const Argument &no_boolean_mask();

// What the call asks of its kernel, but for a guard, which depends on the values.
Need need_of(const SpatialCall &call);

}  // namespace muattn
