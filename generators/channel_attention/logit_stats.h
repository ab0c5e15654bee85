// The stages of the statistics of a map's logits, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelLogitStatsStages {
    // Row of the map (a channel of Q): i. Column (a channel of K): j.
    Halide::Var i{"i"}, j{"j"};
    Halide::RDom r_m, r_j;  // over the columns: for the maximum, for the sums

    Halide::Func rq{"rq"}, rk{"rk"};  // (i), (j)  1 / max(norm, eps)
    Halide::Func S{"S"};              // (i, j)  logits in units of log 2
    Halide::Func M{"M"};              // (i)     row maximum
    Halide::Func sums{"sums"};        // (i)     RowSums
    Halide::Func out{"out"};          // (i)     row_stats()
};

}  // namespace muattn
