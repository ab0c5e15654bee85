// The stages of spatial attention with its keys split into spans, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct SpatialSplitKeysStages {
    // Row of a block: i. Block: x. Key of a span: j. Span: p. Column: e. Lane: l. Group of keys in P V: c. Key/value head: h.
    Halide::Var i{"i"}, x{"x"}, j{"j"}, p{"p"}, e{"e"}, l{"l"}, c{"c"}, h{"h"}, b{"b"}, row{"row"};
    Halide::RDom r_c;  // over the groups of keys of a span
    Halide::RDom r_p;  // over the spans

    Halide::Func query{"query"}, head{"head"};  // (i, x)                 of a row
    Halide::Func Q{"Q"};                        // (e, i, x, h, b)        queries times scale, 0 past d
    Halide::Func K{"K"};                        // (e, j, p, h, b)        keys, inlined
    Halide::Func V{"V"};                        // (e, j, p, h, b)        values, inlined
    Halide::Parameter key_array, value_array;   // the arrays that K and V read
    Halide::Func products{"products"};  // (l, i, j, x, p, h, b)  of query and key, summed over vectors of columns
    Halide::Func QK{"QK"};              // (j, i, x, p, h, b)     dot products
    Halide::Func bias{"bias"};          // (j, i, x, p, h, b)     what the mask adds to a logit, in units of log 2
    Halide::Expr dense_mask;            // condition: along keys, the mask is contiguous
    Halide::Func S{"S"};                // (j, i, x, p, h, b)     logits in units of log 2, masked
    Halide::Func lane_max{"lane_max"};  // (l, i, x, p, h, b)     maximum over every lanes-th key
    Halide::Func M{"M"};                // (i, x, p, h, b)        row maximum within the span
    Halide::Func P{"P"};                // (j, i, x, p, h, b)     2^(S - M)
    bool values_have_scales = false;    //                        whether W is more than P
    Halide::Func W{"W"};                // (j, i, x, p, h, b)     P, times the scale of the key's value
    Halide::Func lane_sum{"lane_sum"};  // (l, i, x, p, h, b)     sum over every lanes-th key
    Halide::Func L{"L"};                // (i, x, p, h, b)        row sum of P within the span
    Halide::Func PV_part{"PV_part"};    // (e, i, c, x, p, h, b)  P V of a group of keys
    Halide::Expr whole_groups;          // condition: the columns of V are whole groups of vectors
    Halide::Func PV{"PV"};              // (e, i, x, p, h, b)     P V of the span
    Halide::Func partial{"partial"};    // (e, i, x, p, h, b)     {PV, M, L} of each span
    Halide::Func m_all{"m_all"};        // (i, x, h, b)           maximum over all spans
    Halide::Func weight{"weight"};      // (i, x, p, h, b)        2^(M - m_all)
    Halide::Func l_all{"l_all"};        // (i, x, h, b)           sum over all spans
    Halide::Func merged{"merged"};      // (e, i, x, h, b)        P V over all spans
    Halide::Func LSE{"LSE"};            // (i, x, h, b)           natural logarithm of the row sum
    Halide::Func out{"out"};            // (e, row, h, b)         the output, with or without lse
};

}  // namespace muattn
