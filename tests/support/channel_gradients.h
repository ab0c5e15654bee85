// A call of channel attention's gradients, or of its halves, as data: made, run, compared with the reference.
#pragma once

#include <vector>

#include "support/cases.h"

namespace muattn::test {

struct ChannelGradientCase : ChannelCase {
    enum Way {
        whole,           // muattn_channel_attention_backward
        whole_with_map,  // the same with the attention map; not with normalize
        halves           // muattn_channel_map, muattn_channel_apply_backward, muattn_channel_map_backward
    } way = whole;
    bool d_q = true, d_k = true, d_v = true, d_scale = true, d_output_multiplier = true;  // wanted
};

struct ChannelGradientTensors {
    ChannelTensors forward;
    Tensor d_out, d_q, d_k, d_v;
    Tensor map, attention_map, d_attention_map;  // [B, H, d, d]
    Tensor q_squares, k_squares;                 // [B, H, d, 1]
    // What the calls write to, so that a case may be run that is const.
    std::shared_ptr<std::vector<float>> d_scale, d_output_multiplier;

    // What calls of every way write.
    std::vector<const Tensor *> outputs() const { return {&d_q, &d_k, &d_v}; }
    void reset() const;
};

std::ostream &operator<<(std::ostream &out, const ChannelGradientCase &c);

ChannelGradientTensors make_tensors(const ChannelGradientCase &c);
// Only the gradients of what is wanted are asked for. whole_with_map and halves compute their maps first.
muattn_status run(const ChannelGradientCase &c, const ChannelGradientTensors &t);
// muattn_channel_map, muattn_channel_apply: to map, squares, attention_map and out.
muattn_status run_halves(const ChannelGradientCase &c, const ChannelGradientTensors &t);

// Expects success, every gradient within its bound of the reference, nothing written but wanted elements, and a kernel of this backend
// as the one that ran.
void expect_agrees(const ChannelGradientCase &c, const ChannelGradientTensors &t, const Instead &instead = nullptr);
inline void expect_agrees(const ChannelGradientCase &c) { expect_agrees(c, make_tensors(c)); }
// The same of the halves: map, squares, attention map and out.
void expect_halves_agree(const ChannelGradientCase &c, const ChannelGradientTensors &t);
inline void expect_halves_agree(const ChannelGradientCase &c) { expect_halves_agree(c, make_tensors(c)); }

}  // namespace muattn::test
