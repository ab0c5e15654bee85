// The stages of spatial attention, by the names of docs/design.md, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct SpatialAttentionStages {
    // Rows of a query tile: i. Keys of a chunk: j. Column of d: e. Column group of d_v: g.
    // Tile: t. Chunk of keys within the tile's visible range: c. Head: h. Batch: b.
    Halide::Var i{"i"}, j{"j"}, e{"e"}, g{"g"}, c{"c"}, t{"t"}, h{"h"}, b{"b"};
    Halide::Var row{"row"};   // a query, counted from the start: t * tile_rows + i
    Halide::RDom r_e;         // over d, in the product Q K^T
    Halide::RDom r_j;         // over the keys of a chunk
    Halide::RDom r_c;         // over the chunks that the tile sees

    Halide::Func Q{"Q"};          // (i, e, t, h, b)     queries times scale * log2(e), transposed
    Halide::Func K{"K"};          // (e, j, c, t, h, b)  the chunk's keys
    Halide::Func V{"V"};          // (e, j, c, t, h, b)  the chunk's values, columns padded to whole groups
    Halide::Func QK{"QK"};        // (i, j, c, t, h, b)  dot products
    Halide::Func S{"S"};          // (i, j, c, t, h, b)  logits in units of log 2, masked
    Halide::Func M{"M"};          // (i, c, t, h, b)     row maximum within the chunk
    Halide::Func P{"P"};          // (i, j, c, t, h, b)  2^(S - M)
    Halide::Func L{"L"};          // (i, c, t, h, b)     row sum of P within the chunk
    Halide::Func PV{"PV"};        // (i, e, c, t, h, b)  P V within the chunk
    Halide::Func state{"state"};  // (i, g, t, h, b)     {m, l, o[0..group)}: the online softmax
    Halide::Func O{"O"};          // (i, e, t, h, b)     the normalised output
    Halide::Func LSE{"LSE"};      // (i, t, h, b)        natural logarithm of the row sum
    Halide::Func out{"out"};      // (e, row, h, b)      the output, with or without lse
};

}  // namespace muattn
