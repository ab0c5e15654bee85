// The stages of channel attention on channels-first arrays, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelsFirstStages {
    // A chunk's part of the sums over tokens.
    struct ChunkSums {
        Halide::Func QK;        // (l, i, j, x, c, h, b)  of Q K^T, one sum per lane
        Halide::Func QK_chunk;  // (i, j, x, c, h, b)     its lanes added up
        Halide::Func KK;        // (l, j, c, h, b)        of |K_j|^2, where rows are normalised
        Halide::Func KK_chunk;  // (j, c, h, b)           its lanes added up
    };

    // Lane: l. Token of a chunk: u. Row of the map within a tile: i. Column of the map: j. Tile of
    // rows: x. Chunk of tokens: c. Span of chunks: p. Output tile of tokens: t. Head: h. Batch: b.
    Halide::Var l{"l"}, u{"u"}, i{"i"}, j{"j"}, x{"x"}, c{"c"}, p{"p"}, t{"t"}, h{"h"}, b{"b"};
    Halide::Var channel{"channel"}, token{"token"};
    Halide::Expr whole_tile;  // condition: there are a register tile of tokens and of channels, at least
    Halide::RDom r_v;         // over the vectors of a chunk
    Halide::RDom r_c;         // over the chunks of a span
    Halide::RDom r_l;         // over the lanes
    Halide::RDom r_p;         // over the spans
    Halide::RDom r_j;         // over the columns of the map

    Halide::Func Q{"Q"};                // (u, i, x, c, h, b)     the chunk's queries, 0 past the last token
    Halide::Func K{"K"};                // (u, j, c, h, b)        the chunk's keys
    ChunkSums copied, in_place;         // of the copy of K, and of K where it is
    Halide::Func QQ{"QQ"};              // (l, i, x, c, h, b)     the chunk's part of |Q_i|^2, where rows are normalised
    Halide::Func QQ_chunk{"QQ_chunk"};  // (i, x, c, h, b)        its lanes added up
    // The span's part of Q K^T; with normalize a tuple, of Q K^T, |Q_i|^2 and |K_j|^2.
    Halide::Func sum{"sum"};            // (i, j, x, p, h, b)
    Halide::Func span_sum{"span_sum"};  // (i, j, x, p, h, b)  the same, kept for the next step
    Halide::Func S{"S"};                // (i, j, x, h, b)     Q K^T
    Halide::Func S_QQ{"S_QQ"};          // (i, x, h, b)        |Q_i|^2
    Halide::Func S_KK{"S_KK"};          // (j, x, h, b)        |K_j|^2
    Halide::Func rq{"rq"};              // (i, x, h, b)        1 / max(|Q_i|, eps)
    Halide::Func rk{"rk"};              // (j, x, h, b)        1 / max(|K_j|, eps)
    Halide::Func logit{"logit"};        // (i, j, x, h, b)     in units of log 2
    Halide::Func M{"M"};                // (i, x, h, b)        row maximum of the logits
    Halide::Func E{"E"};                // (i, j, x, h, b)     2^(logit - M)
    Halide::Func L{"L"};                // (i, x, h, b)        row sum of E
    Halide::Func R{"R"};                // (i, x, h, b)        what a row of E is multiplied with: o / L
    Halide::Func P{"P"};                // (channel, j, h, b)  the map, times o
    Halide::Func V{"V"};                // (token, j, h, b)       values
    Halide::Func PV{"PV"};              // (token, channel, h, b) P V
    Halide::Func out{"out"};            // (token, channel, h, b)
};

}  // namespace muattn
