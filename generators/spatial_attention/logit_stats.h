// The stages of the statistics of spatial attention's logits, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct SpatialLogitStatsStages {
    // Row of a block of queries: i. Key of a chunk: j. Column of d: e. Chunk: c. Block: x. Query, counted from the start: row.
    Halide::Var i{"i"}, j{"j"}, e{"e"}, c{"c"}, x{"x"}, row{"row"};
    Halide::RDom r_e;  // over d, in the product Q K^T
    Halide::RDom r_m;  // over the keys of a chunk that some row of the block sees, for the maximum
    Halide::RDom r_j;  // the same, for the sums
    Halide::RDom r_c;  // over the chunks

    Halide::Func Q_rows{"Q_rows"};          // (e, i, x)     queries times scale
    Halide::Func Q{"Q"};                    // (i, e, x)     the same, transposed
    Halide::Func K{"K"};                    // (e, j, c)     the chunk's keys
    Halide::Func QK{"QK"};                  // (i, j, c, x)  dot products
    Halide::Expr same_mask_rows;            // condition: every row of a block has the same row of the mask
    Halide::Expr dense_mask;                // condition: along keys, the mask is contiguous
    Halide::Func hides_rows{"hides_rows"};  // (j, i, c, x)  1 where the mask hides the key, else 0
    Halide::Func hides{"hides"};            // (i, j, c, x)  the same, transposed
    Halide::Func S{"S"};                    // (i, j, c, x)  logits in units of log 2; kMasked where hidden
    Halide::Func M{"M"};                    // (i, c, x)     row maximum within the chunk
    Halide::Func sums{"sums"};              // (i, c, x)     RowSums within the chunk
    Halide::Func state{"state"};            // (i, x)        the maximum so far, and RowSums
    Halide::Func out{"out"};                // (row)         row_stats()
};

}  // namespace muattn
