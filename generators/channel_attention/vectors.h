// Vectors of channels that are read whole, and tokens that are used where they are.
#pragma once
#include "Halide.h"

namespace muattn {

// Channel x in whole vectors that lie inside d: the last is shifted inwards.
inline Halide::Expr vector_inside(const Halide::Expr &x, const Halide::Expr &d, int lanes) {
    return Halide::min(Halide::likely(x / lanes * lanes), d - lanes) + x % lanes;
}

// Condition: products of tokens so many floats apart read them where they are, if that is possible at all, and not copies. Measured on a
// Zen 5, AVX2 and AVX-512: 1.05 to 1.25 times as fast up to 64 floats, no faster from 128 on. One comparison: of two, a schedule that
// specialises it would compute both.
inline Halide::Expr used_in_place(const Halide::Expr &possible, const Halide::Expr &stride,
                                  const Halide::Expr &other_stride) {
    constexpr int kFar = 65;
    return Halide::select(possible, Halide::max(Halide::abs(stride), Halide::abs(other_stride)), kFar) < kFar;
}

}  // namespace muattn
