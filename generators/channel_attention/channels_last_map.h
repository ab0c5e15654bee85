// The stages of a map of products between channels, on channels-last arrays, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelsLastMapStages {
    // Channel of x: i. Channel of y: j. Token of a chunk: u. Chunk of tokens: c.
    Halide::Var i{"i"}, j{"j"}, u{"u"}, c{"c"};
    Halide::Expr holds_vector;     // condition: a row of the map holds a vector, at least
    Halide::Expr tokens_in_place;  // condition: x and y are used where they are, not copied
    Halide::Expr x_row, y_row;     // floats from one token to the next in the copies
    Halide::RDom r_u;              // over the tokens of a chunk
    Halide::RDom r_c;              // over the chunks

    Halide::Func X{"X"}, Y{"Y"};  // (i, u, c), (j, u, c)  the chunk's tokens
    // (i, j, c)  a chunk's part of the map, from the copies, and from where x and y are
    Halide::Func copied{"copied"}, in_place{"in_place"};
    Halide::Func S{"S"};      // (i, j)  the map
    Halide::Func out{"out"};  // (i, j)  the same in its place
};

}  // namespace muattn
