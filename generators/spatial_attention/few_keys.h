// The stages of spatial attention for few keys, for a schedule to order.
#pragma once
#include "Halide.h"

namespace muattn {

struct SpatialFewKeysStages {
    // Lane: l. Vector of keys, or of columns: z. Key: j. Column: e. Query: row.
    Halide::Var l{"l"}, z{"z"}, j{"j"}, e{"e"}, row{"row"}, h{"h"}, b{"b"};

    Halide::Func K_rows{"K_rows"};         // (e, l, z, h, b)    keys
    Halide::Func K{"K"};                   // (l, e, z, h, b)    keys times scale, transposed
    std::vector<Halide::Func> QK;          // (l, z, row, h, b)  dot products, by each register tile
    std::vector<Halide::Expr> key_tile;    // conditions: the first that holds chooses the tile for QK, none the last
    Halide::Expr dense_mask;               // condition: the mask is contiguous along keys
    Halide::Func bias{"bias"};             // (j, row, h, b)     what the mask adds to a logit, in units of log 2
    Halide::Func S{"S"};                   // (l, z, row, h, b)  logits in units of log 2, masked
    Halide::Func lane_max{"lane_max"};     // (l, row, h, b)     maximum over every lanes-th key
    Halide::Func M{"M"};                   // (row, h, b)        row maximum
    Halide::Func P{"P"};                   // (l, z, row, h, b)  2^(S - M)
    Halide::Func lane_sum{"lane_sum"};     // (l, row, h, b)     sum over every lanes-th key
    Halide::Func L{"L"};                   // (row, h, b)        row sum of P
    Halide::Func V{"V"};                   // (l, j, z, h, b)    values
    Halide::Func R{"R"};                   // (row, h, b)        what a row of P V is multiplied with
    std::vector<Halide::Func> PV;          // (l, z, row, h, b)  P V, by each register tile
    std::vector<Halide::Expr> value_tile;  // as key_tile, for PV
    Halide::Func O{"O"};                   // (l, z, row, h, b)  the normalised output
    Halide::Func LSE{"LSE"};               // (row, h, b)        natural logarithm of the row sum
    Halide::Func out{"out"};               // (e, row, h, b)     the output, with or without lse
};

}  // namespace muattn
