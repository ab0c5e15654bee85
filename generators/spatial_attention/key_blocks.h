// The stages of spatial attention's gradients, by the names of docs/design.md, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct SpatialKeyBlocksStages {
    // Key of a panel: j. Panel of keys, counted from the start: x. Query: i, of a block, of a tile or counted from the start. Tile of
    // queries: t. Column of d or d_v: e. Block of queries: ib. Block of keys: jb. Query head of the group: g. Lane: l. Group of keys: y.
    Halide::Var j{"j"}, x{"x"}, i{"i"}, t{"t"}, e{"e"}, ib{"ib"}, jb{"jb"}, g{"g"}, b{"b"}, l{"l"}, y{"y"};
    Halide::RDom r_e;       // over d, in the product Q K^T
    Halide::RDom r_v;       // over d_v, in the product dO V^T
    Halide::RDom r_k, r_n;  // over the queries of a block that see the panel, in the products for d_k and d_v
    Halide::RDom r_j;       // over the keys of a block that the tile sees: key of a panel, panel
    // Over blocks of queries, heads, blocks of keys, and: panels, of d_k and d_v; tiles of queries and their queries, of d_q; vectors of keys, or
    // the keys after the last, and queries, of d_mask.
    Halide::RDom r, r_q, r_mask, r_mask_end;
    Halide::Expr block_rows;  // rows of a block of queries
    Halide::Expr padded_d;    // columns of a row in the copies of K and Q, of all products' tiles
    Halide::Expr padded_d_v;  // the same for dO
    Halide::Expr dense_mask;  // condition: along keys, the mask is contiguous

    // Of one query.
    Halide::Func D_lanes{"D_lanes"};  // (l, i, g)  d_out . O, one sum per lane
    Halide::Func D{"D"};              // (i, g)     d_out . O - dlse, in the unit of dS
    Halide::Func lse2{"lse2"};        // (i, g)     lse in units of log 2

    // Copies of blocks.
    Halide::Func K_rows{"K_rows"}, V_rows{"V_rows"};  // (e, j, x)
    Halide::Func KT{"KT"}, VT{"VT"};                  // (j, e, x)  the same, transposed
    Halide::Func K{"K"};                              // (e, j, x)
    Halide::Func Q{"Q"};                              // (e, i, ib, g, jb)  queries times scale
    Halide::Func dO{"dO"};                            // (e, i, ib, g, jb)  d_out times the output multiplier

    // Of a block of keys and a block of queries; t: tile of the block, i its query.
    Halide::Func seen{
        "seen"};  // (t, x, ib, g, jb)        1 if some query of the tile sees some key of the panel, else 0
    // (x, ib, g, jb)  how many of the block see some key of the panel, in the products for d_k and d_v: 0 if nobody wants these
    Halide::Func queries_k{"queries_k"}, queries_v{"queries_v"};
    Halide::Func QK{"QK"};      // (j, i, t, x, ib, g, jb)  dot products
    Halide::Func tanh{"tanh"};  // (j, i, x, ib, g, jb)     what softcap makes of them
    Halide::Func bias{"bias"};  // (j, i, x, ib, g, jb)     what the mask adds to a logit, in units of log 2
    Halide::Func P{"P"};        // (j, i, x, ib, g, jb)     2^(logit - lse)
    Halide::Func GV{"GV"};      // (j, i, t, x, ib, g, jb)  dO V^T
    Halide::Func dZ{"dZ"};      // (j, i, x, ib, g, jb)     gradient by the logit
    Halide::Func dS{"dS"};      // (j, i, x, ib, g, jb)     gradient by the product of a scaled query and a key

    // Parts of the gradients that a block gives, and the gradients.
    Halide::Func dK_block{"dK_block"}, dV_block{"dV_block"};  // (j, e, x, ib, g, jb)
    Halide::Func dQ_block{"dQ_block"};                        // (e, i, t, ib, g, jb)
    Halide::Func dKT{"dKT"}, dVT{"dVT"};                      // (j, e, x)
    Halide::Func dK_cols{"dK_cols"}, dV_cols{"dV_cols"};      // (l, e, y)  the same, a few keys at a time
    Halide::Func dQ{"dQ"};                                    // (e, i, g, b)
    Halide::Func dK{"dK"}, dV{"dV"};                          // (e, key, g, b)
    Halide::Func dM{"dM"};                                    // (l, y, i, g)  key l of vector y
};

}  // namespace muattn
