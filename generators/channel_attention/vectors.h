// Channels past the end of an array, and vectors of channels that are read whole.
#pragma once
#include "Halide.h"

namespace muattn {

// Channel x in whole vectors that lie inside d: the last is shifted inwards.
inline Halide::Expr vector_inside(const Halide::Expr &x, const Halide::Expr &d, int lanes) {
    return Halide::min(Halide::likely(x / lanes * lanes), d - lanes) + x % lanes;
}

// Channel x, or, past the end, one that may be read in its place: vectors stay whole where d consists of whole ones.
inline Halide::Expr channel_inside(const Halide::Expr &x, const Halide::Expr &d, int lanes) {
    return Halide::select(d % lanes == 0, vector_inside(x, d, lanes), Halide::min(Halide::likely(x), d - 1));
}

}  // namespace muattn
