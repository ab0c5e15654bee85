// Elementary functions in the form that the kernels need them.
#pragma once
#include <initializer_list>

#include "Halide.h"

namespace muattn {

// Finite stand-ins for -infinity: code for GPUs may assume that no infinity occurs. A masked logit is far below the
// initial maximum, so that exp2_nonpositive(kMasked - kInitialMax) is exactly 0. A logit below kInitialMax, in units of
// log 2, counts as masked.
inline const float kMasked = -3e38f;
inline const float kInitialMax = -1e38f;

inline const float kLog2E = 1.44269504088896341f;
inline const float kLn2 = 0.693147180559945309f;

// Where columns are normalised: x / max(|x|, eps), as torch.nn.functional.normalize has it.
inline const float kNormalizeEps = 1e-12f;

// 1 / max(norm, eps), from a sum of squares. 1 for a sum of 1: what is not normalised.
inline Halide::Expr inverse_norm(const Halide::Expr &squares) {
    return 1.0f / Halide::max(Halide::sqrt(squares), kNormalizeEps);
}

inline Halide::Expr minus_infinity() { return Halide::reinterpret<float>(Halide::Expr(0xff800000u)); }

// Whether x is a number and 0. Strict, as every comparison here whose answer for NaN matters: code may otherwise assume that there is none.
inline Halide::Expr is_zero(const Halide::Expr &x) { return Halide::strict_float(x == 0.0f); }

// The polynomial with these coefficients, one at least, the highest power's first, by Horner's rule.
inline Halide::Expr polynomial(const Halide::Expr &x, std::initializer_list<float> coefficients) {
    Halide::Expr p;
    for (const float c : coefficients) {
        p = p.defined() ? p * x + c : Halide::Expr(c);
    }
    return p;
}

// (2^f - 1) / f for f in [0, 1), minimax of degree 4, so that 2^f is exactly 1 at f = 0. Relative error of 2^f: 1.5e-7.
inline Halide::Expr exp2_fraction(const Halide::Expr &f) {
    return polynomial(f, {1.86713e-3f, 9.01703e-3f, 5.579991e-2f, 2.4016445e-1f, 6.9315131e-1f});
}

// (2^f - 1) / f for f in [-1/2, 1/2], minimax of degree 4. Relative error of 2^f: 1.7e-7 with roundings.
inline Halide::Expr exp2_centered_fraction(const Halide::Expr &f) {
    return polynomial(f, {1.32647e-3f, 9.67151e-3f, 5.550734e-2f, 2.4022242e-1f, 6.9314698e-1f});
}

// 2^n for a whole number n in [-127, 127], 0 at -127.
inline Halide::Expr exp2_whole(const Halide::Expr &n) {
    return Halide::reinterpret<float>((Halide::cast<int32_t>(n) + 127) << 23);
}

// The whole number nearest to y in [-127, 127], and 2 to its power, without an instruction that rounds or converts: a sum with
// 1.5 * 2^23 is rounded to a whole number, and has it in its last bits. NaN for NaN, and some power.
struct NearestWhole {
    Halide::Expr n, two_n;  // 0 at n = -127

    static NearestWhole by_sum(const Halide::Expr &y) {
        using namespace Halide;
        const float shift = 12582912.0f;
        const Expr shifted = strict_float(y + shift);
        return {strict_float(shifted - shift), reinterpret<float>((reinterpret<int32_t>(shifted) << 23) + (127 << 23))};
    }
};

// 2^x for -126 <= x <= 0, relative error below 2e-7; exactly 1 at 0, exactly 0 for x <= -127, a number in [0, 2^-126) in
// between, and NaN for NaN.
// x = n + f with n = floor(x); 2^f is the polynomial and n goes into the exponent bits. At n = -127 the exponent field is
// empty and f = 0 leaves an empty mantissa as well: +0.
inline Halide::Expr exp2_nonpositive(const Halide::Expr &x, const Halide::Target &target) {
    using namespace Halide;
    // Not max(): which operand it returns for NaN is left open.
    Expr y = select(strict_float(x < -127.0f), -127.0f, x);
    // For AVX-512, Halide's floor() of 16 lanes is two of 8, with shuffles. For RISC-V's it is a change of the rounding mode and
    // a conversion, which makes the largest integer of NaN and of which QEMU 7.2 dies.
    if (target.has_feature(Target::AVX512) || target.arch == Target::RISCV) {
        const auto [n, two_n] = NearestWhole::by_sum(y);
        Expr f = strict_float(y - n);
        return exp2_centered_fraction(f) * (f * two_n) + two_n;
    }
    Expr n = floor(y);
    Expr f = y - n;
    return reinterpret<float>((cast<int32_t>(n) << 23) + reinterpret<int32_t>(exp2_fraction(f) * f + 1.0f));
}

// 2^x on CUDA: one instruction, relative error below 2^-22, flushing what is below 2^-126 to 0.
inline Halide::Expr exp2_cuda(const Halide::Expr &x) {
    using Halide::Internal::Call;
    return Call::make(Halide::Float(32), "llvm.nvvm.ex2.approx.ftz.f", {x}, Call::PureExtern);
}

// tanh(x) from t = e^(-2|x|) - 1, in (-1, 0]: tanh(|x|) = -t / (t + 2), which loses nothing near 0 because t does not:
// t = 2^n (2^f - 1) + (2^n - 1) for -2|x| log2(e) = n + f, n rounded to nearest. Relative error below 5e-7.
inline Halide::Expr tanh_accurate(const Halide::Expr &x, const Halide::Target &target) {
    using namespace Halide;
    const Expr scaled = abs(x) * (-2.0f * kLog2E);
    Expr y = select(strict_float(scaled < -126.0f), -126.0f, scaled);  // keeps NaN, as in exp2_nonpositive
    const Expr nearest = round(y);
    const auto [n, two_n] =
        target.arch == Target::RISCV ? NearestWhole::by_sum(y) : NearestWhole{nearest, exp2_whole(nearest)};
    Expr f = y - n;  // in [-1/2, 1/2]
    // (2^f - 1) / f on [-1/2, 1/2], minimax of degree 5.
    Expr p = polynomial(f, {1.5403513e-4f, 1.3390736e-3f, 9.6182375e-3f, 5.5503574e-2f, 2.4022650e-1f, 6.9314719e-1f});
    // A case of its own near 0: the compiler may reorder the sum to two_n (p f + 1) - 1, which cancels there.
    Expr t = select(n == 0.0f, p * f, two_n * (p * f) + (two_n - 1.0f));
    Expr magnitude = -t / (t + 2.0f);
    return select(x < 0.0f, -magnitude, magnitude);
}

}  // namespace muattn
