// The stages of a map of products between channels, on channels-first arrays, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelsFirstMapStages {
    // A chunk's part of the sums over tokens.
    struct ChunkSums {
        Halide::Func products;  // (l, i, j, c)  one sum per lane
        Halide::Func chunk;     // (i, j, c)     its lanes added up
    };

    // Lane: l. Token of a chunk: u. Channel of x: i. Channel of y: j. Chunk of tokens: c.
    Halide::Var l{"l"}, u{"u"}, i{"i"}, j{"j"}, c{"c"};
    Halide::Expr holds_vector;  // condition: a row of the map holds a vector, at least
    Halide::RDom r_v;           // over the vectors of a chunk
    Halide::RDom r_c;           // over the chunks
    Halide::RDom r_l;           // over the lanes

    Halide::Func X{"X"}, Y{"Y"};  // (u, i, c), (u, j, c)  the chunk's tokens, 0 past the last
    ChunkSums copied, in_place;   // of the copy of y, and of y where it is
    Halide::Func S{"S"};          // (i, j)  the map
    Halide::Func out{"out"};      // (i, j)  the same in its place
};

}  // namespace muattn
