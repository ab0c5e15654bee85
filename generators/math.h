// Elementary functions in the form that the kernels need them.
#pragma once
#include "Halide.h"

namespace muattn {

// Finite stand-ins for -infinity: code for GPUs may assume that no infinity occurs. A masked logit is
// far below the initial maximum, so that exp2_nonpositive(kMasked - kInitialMax) is exactly 0.
inline const float kMasked = -3e38f;
inline const float kInitialMax = -1e38f;

inline const float kLog2E = 1.44269504088896341f;
inline const float kLn2 = 0.693147180559945309f;

// 2^x for x <= 0, relative error below 2e-7; exactly 1 at 0, exactly 0 for x <= -127, and NaN for NaN.
// x = n + f with n = floor(x); 2^f is a polynomial that is exactly 1 at f = 0, and n goes into the exponent bits.
// At n = -127 the exponent field is empty and f = 0 leaves an empty mantissa as well: +0.
inline Halide::Expr exp2_nonpositive(const Halide::Expr &x) {
    using namespace Halide;
    Expr y = max(x, -127.0f);
    Expr n = floor(y);
    Expr f = y - n;
    // Minimax on [0, 1) with the constant term fixed to 1.
    Expr p = 1.86713e-3f;
    p = p * f + 9.01703e-3f;
    p = p * f + 5.579991e-2f;
    p = p * f + 2.4016445e-1f;
    p = p * f + 6.9315131e-1f;
    p = p * f + 1.0f;
    return reinterpret<float>(cast<int32_t>(n) * (1 << 23) + reinterpret<int32_t>(p));
}

}  // namespace muattn
