// The stages of spatial attention in blocks, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct SpatialBlockStages {
    // Row: y. Block of rows: x. Key of a block: j. Group of a block's keys: u. Block of keys: c. Span of the keys: p. Column of d or
    // d_v: e. Group of value columns: g. Rows of a thread: w. Element of a state: i. Head: h. Batch: b.
    Halide::Var y{"y"}, x{"x"}, j{"j"}, u{"u"}, c{"c"}, p{"p"}, e{"e"}, g{"g"}, w{"w"}, i{"i"}, h{"h"}, b{"b"};
    Halide::RDom r_e;        // over d, in the product Q K^T
    Halide::RDom r_j;        // over the keys of a block
    Halide::RDom r_guarded;  // the same, where not all values are finite
    Halide::RDom r_reset;    // a step before that
    Halide::RDom r_k;        // over the keys of a group
    Halide::RDom r_u;        // over the groups
    Halide::RDom r_i;        // over a group's columns
    Halide::RDom r_c;        // over the blocks of keys that the block of rows sees
    Halide::RDom r_p;        // over the spans

    Halide::Func Q{"Q"};                // (e, y, h, b)           queries times scale
    Halide::Func K{"K"};                // (e, j, c, p, x, h, b)  a block of keys
    Halide::Func V{"V"};                // (e, j, c, p, x, h, b)  and its values
    Halide::Func QK{"QK"};              // (j, y, c, p, h, b)     dot products
    Halide::Func S{"S"};                // (j, y, c, p, h, b)     logits in units of log 2, masked
    Halide::Func M_group{"M_group"};    // (u, y, c, p, h, b)     maximum over a group of keys
    Halide::Func M{"M"};                // (y, c, p, h, b)        maximum over the block
    Halide::Func P{"P"};                // (j, y, c, p, h, b)     2^(S - M); -0 for hidden keys
    Halide::Func L_group{"L_group"};    // (u, y, c, p, h, b)     sum over a group of keys
    Halide::Func L{"L"};                // (y, c, p, h, b)        sum over the block
    Halide::Func PV_plain{"PV_plain"};  // (e, y, c, p, h, b)     P V within the block, if all values are finite
    Halide::Func greatest{
        "greatest"};        // (g, w, c, p, h, b)     its greatest magnitude in a row and group of columns, as bits
    Halide::Func PV{"PV"};  // (e, y, c, p, h, b)     P V within the block
    Halide::Func state{"state"};      // (g, y, p, h, b)        the online softmax of a group of columns: {m, l, o...}
    Halide::Func partial{"partial"};  // (i, g, y, p, h, b)     the state after the last block of a span; no tuple, as
                                      //                        each element of one would be a buffer
    Halide::Func top{"top"};          // (g, y, h, b)           maximum over the spans
    Halide::Func merged{"merged"};    // (g, y, h, b)           {l, o...} over all spans
    Halide::Func out{"out"};          // (e, y, h, b)           the output, with or without lse
};

}  // namespace muattn
