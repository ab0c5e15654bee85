// The stages of the softmax of a map over channels, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelSoftmaxStages {
    // Row of the map (a channel of Q): i. Column (a channel of K): j.
    Halide::Var i{"i"}, j{"j"};
    Halide::RDom r_j;  // over the columns

    Halide::Func rq{"rq"}, rk{"rk"};  // (i), (j)  1 / max(norm, eps)
    Halide::Func logit{"logit"};      // (i, j)  in units of log 2
    Halide::Func M{"M"};              // (i)     row maximum of the logits
    Halide::Func P{"P"};              // (i, j)  2^(logit - M)
    Halide::Func L{"L"};              // (i)     row sum of P
    Halide::Func R{"R"};              // (i)     1 / L
    Halide::Func out{"out"};          // (i, j)  the attention map
};

}  // namespace muattn
