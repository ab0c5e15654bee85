// The stages of sums of squares over tokens, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelSquaresStages {
    // Channel: i. Chunk of tokens: c. One of several sums, that do not wait for each other: l.
    Halide::Var i{"i"}, c{"c"}, l{"l"};
    Halide::Expr holds_vector;  // condition: x has a vector of channels, at least
    Halide::RDom r_u;           // over the tokens of a chunk that go to one of its sums
    Halide::RDom r_c;           // over the chunks
    Halide::RDom r_l;           // over the sums of a chunk

    Halide::Func part{"part"};          // (i, l, c), or (l, i, c) with channels first
    Halide::Func of_chunk{"of_chunk"};  // (i, c)  a chunk's part of sum
    Halide::Func sum{"sum"};            // (i)
    Halide::Func out{"out"};            // (i)
};

}  // namespace muattn
