// The stages of the gradient of a map over channels, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelGradientStages {
    // Row of the map (a channel of Q): i. Column (a channel of K): j. Lane: l.
    Halide::Var i{"i"}, j{"j"}, l{"l"};
    Halide::Expr holds_vector;  // condition: there are a vector of columns, at least
    Halide::RDom r_j;           // over the columns
    Halide::RDom r_v;           // over the vectors of rows
    Halide::RDom r_l;           // over the lanes

    Halide::Func rq{"rq"}, rk{"rk"};      // (i), (j)  1 / max(norm, eps)
    Halide::Func D{"D"};                  // (i)     sum_j A dA
    Halide::Func W{"W"};                  // (i, j)  dz / (|Q_i| |K_j|)
    Halide::Func G{"G"};                  // (i)     sum_j W S
    Halide::Func lane_sum{"lane_sum"};    // (l, j)  a lane's part of sum_i W S
    Halide::Func c_k_sum{"c_k_sum"};      // (j)     sum_i W S
    Halide::Func c_q{"c_q"}, c_k{"c_k"};  // (i), (j)  factors of Q and K in their own gradients
};

}  // namespace muattn
