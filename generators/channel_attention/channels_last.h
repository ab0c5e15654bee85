// The stages of channel attention, by the names of docs/design.md, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct ChannelsLastStages {
    // Of the columns of Q or K, where they are normalised. A channel's place is its number, but in a last vector that is not whole:
    // that one is shifted inwards, and its channels stand as much further on.
    struct Norms {
        Halide::Func chunk;    // (place, c, h, b)   a chunk's part of sum
        Halide::Func sum;      // (place, h, b)      of squares, over all tokens
        Halide::Func inverse;  // (i or j, h, b)     1 / max(norm, eps)

        Norms(const std::string &squares, const std::string &inverse)
            : chunk(squares + "_chunk"), sum(squares), inverse(inverse) {}
    };

    // Row of the map (a channel of Q and of the output): i. Column of the map (a channel of K and V): j. Token of a chunk: u.
    // Chunk of tokens: c. Head: h. Batch: b.
    Halide::Var i{"i"}, j{"j"}, u{"u"}, c{"c"}, h{"h"}, b{"b"};
    Halide::Var token{"token"};    // counted from the start
    Halide::Expr whole_block;      // condition: there are a block of channels and a group of tokens, at least
    Halide::Expr whole_vectors;    // condition: d consists of whole vectors
    Halide::Expr holds_vector;     // condition: d holds a vector, at least
    Halide::Expr tokens_in_place;  // condition: Q and K are used where they are, not copied
    Halide::Expr many_columns;     // condition: the sum over columns goes in blocks
    Halide::RDom r_u;              // over the tokens of a chunk
    Halide::RDom r_c;              // over the chunks
    Halide::RDom r_cj;             // over the blocks of columns
    Halide::RDom r_j;              // over the columns of the map

    Halide::Func Q{"Q"};  // (i, u, c, h, b)   the chunk's queries, one tile of channels
    Halide::Func K{"K"};  // (j, u, c, h, b)   the chunk's keys
    // (i, j, c, h, b)  a chunk's part of Q^T K, from the copies, and from where Q and K are
    Halide::Func QK_copied{"QK_copied"}, QK_in_place{"QK_in_place"};
    Halide::Func S{"S"};  // (i, j, h, b)  Q^T K
    Norms Q_norms{"QQ", "rq"}, K_norms{"KK", "rk"};
    Halide::Func logit{"logit"};          // (i, j, h, b)  in units of log 2
    Halide::Func M{"M"};                  // (i, h, b)         row maximum of the logits
    Halide::Func P{"P"};                  // (i, j, h, b)      2^(logit - M)
    Halide::Func L{"L"};                  // (i, h, b)         row sum of P
    Halide::Func O{"O"};                  // (i, token, h, b)     P V^T, not normalised
    Halide::Func O_columns{"O_columns"};  // (i, token, c, h, b)  the same over a block of columns
    Halide::Func O_sum{"O_sum"};          // (i, token, h, b)     the sum of these blocks
    Halide::Func R{"R"};                  // (i, h, b)            what a row of O is multiplied with
    Halide::Func out{"out"};              // (i, token, h, b)
};

}  // namespace muattn
