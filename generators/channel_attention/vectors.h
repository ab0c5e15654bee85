// Vectors of channels that are read whole.
#pragma once
#include "Halide.h"

namespace muattn {

// Channel x in whole vectors that lie inside d: the last is shifted inwards.
inline Halide::Expr vector_inside(const Halide::Expr &x, const Halide::Expr &d, int lanes) {
    return Halide::min(Halide::likely(x / lanes * lanes), d - lanes) + x % lanes;
}

}  // namespace muattn
