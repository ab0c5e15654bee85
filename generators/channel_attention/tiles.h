// The stages of channel attention in tiles, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelTilesStages {
    // Row of the map (a channel of Q and of the output): i. Column of the map (a channel of K and V): j. Token of a step: u. Step:
    // t. Span of tokens: s. Column of a step: l. Head: h. Batch: b.
    Halide::Var i{"i"}, j{"j"}, u{"u"}, t{"t"}, s{"s"}, l{"l"}, h{"h"}, b{"b"};
    Halide::Var token{"token"};  // counted from the start
    Halide::RDom r_u;            // over the tokens of a step
    Halide::RDom r_t;            // over the steps of a span
    Halide::RDom r_s;            // over the spans
    Halide::RDom r_n;            // over the tokens of a span
    Halide::RDom r_j;            // over the columns of the map
    Halide::RDom r_l;            // over the columns of a step
    Halide::RDom r_c;            // over the steps of columns

    Halide::Func Q{"Q"};              // (i, u, t, s, h, b)  the queries of a step
    Halide::Func K{"K"};              // (j, u, t, s, h, b)  and its keys
    Halide::Func product{"product"};  // (i, j, t, s, h, b)  a step's part of Q^T K
    Halide::Func span{"span"};        // (i, j, s, h, b)     a span's, as its steps come in
    Halide::Func QK{"QK"};            // (i, j, s, h, b)     a span's
    Halide::Func S_sum{"S_sum"};      // (i, j, h, b)        Q^T K
    Halide::Func QQ_span{"QQ_span"};  // (i, s, h, b)        a span's part of |Q_i|^2, where columns are normalised
    Halide::Func KK_span{"KK_span"};  // (j, s, h, b)        and of |K_j|^2
    Halide::Func QQ_sum{"QQ_sum"}, KK_sum{"KK_sum"};
    Halide::Func QQ{"QQ"};  // (i, h, b)           |Q_i|, at least kNormalizeEps
    Halide::Func KK{"KK"};  // (j, h, b)           |K_j|, at least kNormalizeEps
    Halide::Func S{"S"};    // (i, j, h, b)        logits in units of log 2
    Halide::Func M_max{"M_max"};
    Halide::Func M{"M"};  // (i, h, b)           row maximum
    Halide::Func P{"P"};  // (i, j, h, b)        2^(S - M)
    Halide::Func L_sum{"L_sum"};
    Halide::Func R{"R"};            // (i, h, b)           what a row of P V^T is multiplied with
    Halide::Func P_step{"P_step"};  // (i, l, t, h, b)     a step of columns of P, 0 past the last
    Halide::Func V_step{"V_step"};  // (l, token, t, h, b) the same of V
    Halide::Func PV{"PV"};          // (i, token, t, h, b) a step's part of P V^T
    Halide::Func O{"O"};            // (i, token, h, b)    P V^T, as the steps come in
    Halide::Func out{"out"};        // (i, token, h, b), or with channels first (token, i, h, b)
};

}  // namespace muattn
