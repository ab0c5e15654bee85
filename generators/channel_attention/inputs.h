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

}  // namespace muattn
