// What the algorithms of channel attention share: the shapes of their buffers.
#pragma once
#include "Halide.h"

namespace muattn {

// The runtime checks shapes; here they are told to the compiler.
template<typename Tensor, typename Vector>
void declare_channel_shapes(Tensor &q, Tensor &k, Tensor &v, Vector &scale, const Halide::Func &out) {
    scale.dim(0).set_min(0).set_stride(Halide::Expr());  // one number for all is a vector of stride 0
    Halide::OutputImageParam buffer = out.output_buffer();
    for (int dim = 0; dim < 4; dim++) {
        q.dim(dim).set_min(0);
        for (Tensor *input : {&k, &v}) {
            input->dim(dim).set_bounds(0, q.dim(dim).extent());
        }
        buffer.dim(dim).set_bounds(0, q.dim(dim).extent());
    }
}

// Sizes for an autoscheduler, which asks for numbers: channel/mup_d128 of bench/shapes.json, on which ./dev tune measures its schedules. Not a smaller d: Adams2019 rejects the RDom over value_columns where it is
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
