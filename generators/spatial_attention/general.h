// The stages of spatial attention, by the names of docs/design.md, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct SpatialGeneralStages {
    // Row of a block of queries: i. Key of a chunk: j. Column of d or d_v: e. Column group of the state: g. Chunk: c. Block
    // of a tile: x. Tile: t. Head: h. Batch: b.
    Halide::Var i{"i"}, j{"j"}, e{"e"}, g{"g"}, c{"c"}, x{"x"}, t{"t"}, h{"h"}, b{"b"};
    Halide::Var row{"row"};  // a query, counted from the start: l of group y of rows
    Halide::Var l{"l"}, y{"y"};
    Halide::RDom r_e;   // over d, in the product Q K^T
    Halide::RDom r_j;   // over the keys of a chunk that some row of the block sees
    Halide::RDom r_gc;  // over the column groups of the state, within the chunks that the tile sees

    Halide::Parameter query_array;        // the array that Q_rows reads
    Halide::Func Q_rows{"Q_rows"};        // (e, i, x, t, h, b)     queries times scale
    Halide::Func Q{"Q"};                  // (i, e, x, t, h, b)     the same, transposed
    Halide::Func K{"K"};                  // (e, j, c, t, h, b)     the chunk's keys
    Halide::Func V{"V"};                  // (e, j, c, t, h, b)     the chunk's values, columns padded to whole groups
    Halide::Func QK{"QK"};                // (i, j, c, x, t, h, b)  dot products
    Halide::Expr same_mask_rows;          // condition: every row of a block has the same row of the mask
    Halide::Expr dense_mask;              // condition: along keys, the mask is contiguous
    Halide::Func bias_rows{"bias_rows"};  // (j, i, c, x, t, h, b)  what the mask adds to a logit, in units of log 2
    Halide::Func bias{"bias"};            // (i, j, c, x, t, h, b)  the same, transposed
    Halide::Func S{"S"};                  // (i, j, c, x, t, h, b)  logits in units of log 2, masked
    Halide::Func M{"M"};                  // (i, c, x, t, h, b)     row maximum within the chunk
    Halide::Func P{"P"};                  // (i, j, c, x, t, h, b)  2^(S - M)
    Halide::Func L{"L"};                  // (i, c, x, t, h, b)     row sum of P within the chunk
    Halide::Func PV{"PV"};                // (i, e, c, x, t, h, b)  P V within the chunk
    Halide::Func state{"state"};          // (i, g, x, t, h, b)    the online softmax, see kStats
    Halide::Func O{"O"};                  // (l, e, y, h, b)        the normalised output; row l of group y of rows
    Halide::Func LSE{"LSE"};              // (l, y, h, b)           natural logarithm of the row sum
    Halide::Func out{"out"};              // (e, row, h, b)         the output, with or without lse
};

// The state's column groups: group 0 holds the statistics of a row, {m, l, keep, add, ...}, group 1 + y the columns
// [y value_group, (y + 1) value_group) of o. keep and add are what the last chunk multiplied the old o and its own P V with:
// statistics are updated first, so that no other group computes an exponential.
constexpr int kStats = 4;

}  // namespace muattn
