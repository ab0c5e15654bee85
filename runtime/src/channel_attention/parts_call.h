// A call of channel attention's halves, or of its gradients, that was checked.
#pragma once

#include "call.h"

namespace muattn {

struct ChannelPartsCall : ChannelSetting {
    // A tensor that this call may have.
    struct Tensor : Argument {
        bool given = false;

        Tensor(const char *its_name, muattn_status its_status) : Argument{its_name, its_status, {}} {}
    };

    Tensor q{"q", MUATTN_INVALID_Q}, k{"k", MUATTN_INVALID_K}, v{"v", MUATTN_INVALID_V};
    Tensor out{"out", MUATTN_INVALID_OUT}, d_out{"d_out", MUATTN_INVALID_D_OUT};
    Tensor map{"map", MUATTN_INVALID_MAP}, attention_map{"attention_map", MUATTN_INVALID_MAP};
    Tensor q_squares{"q_squares", MUATTN_INVALID_MAP}, k_squares{"k_squares", MUATTN_INVALID_MAP};
    Tensor d_attention_map{"d_attention_map", MUATTN_INVALID_D_MAP};
    Tensor d_q{"d_q", MUATTN_INVALID_D_Q}, d_k{"d_k", MUATTN_INVALID_D_K}, d_v{"d_v", MUATTN_INVALID_D_V};
    Tensor stats{"stats", MUATTN_INVALID_STATS};
    float *d_scale = nullptr, *d_output_multiplier = nullptr;

    // One of those that have tokens.
    const Tensor &tokens() const { return q.given ? q : v; }
};

muattn_status check_channel_map(ChannelPartsCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                const muattn_channel_options &options, const muattn_tensor *map,
                                const muattn_tensor *q_squares, const muattn_tensor *k_squares);
muattn_status check_channel_logit_stats(ChannelPartsCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                        const muattn_channel_options &options, const muattn_tensor *stats);
muattn_status check_channel_apply(ChannelPartsCall &call, const muattn_tensor *map, const muattn_tensor *q_squares,
                                  const muattn_tensor *k_squares, const muattn_tensor *v,
                                  const muattn_channel_options &options, const muattn_tensor *out,
                                  const muattn_tensor *attention_map);
muattn_status check_channel_backward(ChannelPartsCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                     const muattn_tensor *v, const muattn_tensor *d_out,
                                     const muattn_tensor *attention_map, const muattn_channel_options &options,
                                     const muattn_channel_gradients *gradients);
muattn_status check_channel_apply_backward(ChannelPartsCall &call, const muattn_tensor *map,
                                           const muattn_tensor *q_squares, const muattn_tensor *k_squares,
                                           const muattn_tensor *v, const muattn_tensor *d_out,
                                           const muattn_channel_options &options, const muattn_tensor *d_attention_map,
                                           const muattn_tensor *d_v);
muattn_status check_channel_map_backward(ChannelPartsCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                         const muattn_tensor *map, const muattn_tensor *q_squares,
                                         const muattn_tensor *k_squares, const muattn_tensor *d_attention_map,
                                         const muattn_channel_options &options,
                                         const muattn_channel_gradients *gradients);

}  // namespace muattn
