// The stages of channel attention, by the names of docs/design.md, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelAttentionStages {
    // Row of the map within a tile (a channel of Q): i. Column of the map (a channel of K and V): j. Token of a chunk: u.
    // Chunk of tokens: c. Tile of map rows: x. Head: h. Batch: b.
    Halide::Var i{"i"}, j{"j"}, u{"u"}, c{"c"}, x{"x"}, h{"h"}, b{"b"};
    Halide::Var channel{"channel"}, token{"token"};  // of the output, counted from the start: x * tile_rows + i
    Halide::RDom r_u;                                // over the tokens of a chunk
    Halide::RDom r_c;                                // over the chunks
    Halide::RDom r_j;                                // over the columns of the map

    Halide::Func Q{"Q"};          // (i, u, c, x, h, b)   the chunk's queries, one tile of channels
    Halide::Func K{"K"};          // (j, u, c, x, h, b)   the chunk's keys
    Halide::Func QK{"QK"};        // (i, j, c, x, h, b)   the chunk's part of Q^T K
    Halide::Func QQ{"QQ"};        // (i, c, x, h, b)      the chunk's part of |Q_i|^2, where columns are normalised
    Halide::Func KK{"KK"};        // (j, c, x, h, b)      the chunk's part of |K_j|^2
    Halide::Func S{"S"};          // (i, j, x, h, b)      Q^T K; where columns are normalised {Q^T K, |Q_i|^2, |K_j|^2}
    Halide::Func rq{"rq"};        // (i, x, h, b)         1 / |Q_i|
    Halide::Func rk{"rk"};        // (j, x, h, b)         1 / |K_j|
    Halide::Func logit{"logit"};  // (i, j, x, h, b)  in units of log 2
    Halide::Func M{"M"};          // (i, x, h, b)         row maximum of the logits
    Halide::Func P{"P"};          // (i, j, x, h, b)      2^(logit - M)
    Halide::Func L{"L"};          // (i, x, h, b)         row sum of P
    Halide::Func O{"O"};          // (i, token, x, h, b)  P V^T, not normalised
    Halide::Func R{"R"};          // (i, token, x, h, b)  the normalised output, times o
    Halide::Func out{"out"};      // (channel, token, h, b)
};

}  // namespace muattn
