// The stages of a product of tokens with a matrix of channels, on channels-first arrays, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelsFirstProductStages {
    // Channel of the output: i. Token: t. Channel of x: j.
    Halide::Var i{"i"}, t{"t"}, j{"j"};
    Halide::Expr adds_z;      // condition: the last term is asked for
    Halide::Expr whole_tile;  // condition: there are a register tile of tokens and of channels, at least
    Halide::RDom r_j;         // over the channels of x

    Halide::Func X{"X"};      // (t, j)  the tokens
    Halide::Func sum{"sum"};  // (t, i)
    Halide::Func out{"out"};  // (t, i)
};

}  // namespace muattn
