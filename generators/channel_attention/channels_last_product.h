// The stages of a product of tokens with a matrix of channels, on channels-last arrays, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelsLastProductStages {
    // Channel of the output: i. Token: t. Block of summed channels: c.
    Halide::Var i{"i"}, t{"t"}, c{"c"};
    Halide::Expr adds_z;        // condition: the last term is asked for
    Halide::Expr whole_block;   // condition: there are a block of channels and a group of tokens, at least
    Halide::Expr many_columns;  // condition: the sum goes in blocks
    Halide::RDom r_j;           // over the summed channels
    Halide::RDom r_jb, r_cj;    // over those of a block, over the blocks

    Halide::Func sum{"sum"};                   // (i, t)     in one go
    Halide::Func block_sum{"block_sum"};       // (i, t, c)  of a block of channels
    Halide::Func sum_of_blocks{"sum_blocks"};  // (i, t)     of the blocks
    Halide::Func out{"out"};                   // (i, t)
};

}  // namespace muattn
