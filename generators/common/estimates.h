// Sizes for an autoscheduler, which asks for numbers: one shape of bench/shapes.json per operator. bench/tune/adams.py
// measures on the same shapes.
#pragma once
#include "Halide.h"

namespace muattn {

// spatial/gpt2_1024: B 1, H 12, n_q = n_k = 1024, d = d_v = 64, causal.
template<typename Inputs>
void estimate_spatial_attention(Inputs &f, Halide::Func &out) {
    const Halide::Region tensor{{0, 64}, {0, 1024}, {0, 12}, {0, 1}}, one{{0, 1}, {0, 1}, {0, 1}, {0, 1}};
    for (auto *input : {&f.q, &f.k, &f.v}) {
        input->set_estimates(tensor);
    }
    f.scale.set_estimates({{0, 12}});
    f.visible.set_estimates({{0, 3}, {0, 1}});
    f.heads_per_kv.set_estimate(1);
    f.window_first.set_estimate(-1024);
    f.window_last.set_estimate(1);
    f.softcap.set_estimate(0.0f);
    f.additive_mask.set_estimates(one);
    f.boolean_mask.set_estimates(one);
    out.set_estimates(tensor);
}

// channel/mup_d128: B 4, H 4, n 1024, d 128. Not a smaller d: Adams2019 rejects the RDom over value_columns where it is
// longer than d.
template<typename Inputs>
void estimate_channel_attention(Inputs &f, Halide::Func &out) {
    const Halide::Region tensor{{0, 128}, {0, 1024}, {0, 4}, {0, 4}};
    for (auto *input : {&f.q, &f.k, &f.v}) {
        input->set_estimates(tensor);
    }
    f.scale.set_estimates({{0, 4}});
    f.output_multiplier.set_estimate(1.0f);
    out.set_estimates(tensor);
}

}  // namespace muattn
