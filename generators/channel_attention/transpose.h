// The stages of a transposed map, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelTransposeStages {
    Halide::Var i{"i"}, j{"j"};
    Halide::Expr holds_block;  // condition: both sides are at least a block's

    Halide::Func block{"block"};  // (j, i)  read
    Halide::Func out{"out"};      // (i, j)
};

}  // namespace muattn
