// Statistics of a row of logits: what the kernels of logit_stats sum, and what they make of the sums.
#pragma once
#include "Halide.h"

#include "generators/common/math.h"

namespace muattn {

// With visible logits S in units of log 2, M their maximum, or the one so far, and P = 2^(S - M). A logit of kMasked counts for nothing;
// NaN reaches every sum.
enum RowSum {
    kSumP,           // sum P
    kSumPLog,        // sum P (S - M)
    kSumMagnitudes,  // sum |S|
    kSumSquares,     // sum S^2
    kSumVisible,     // how many there are
    kRowSums
};

// A difference that 2 is raised to the power of, where it is multiplied with what that makes: far below -127 this is 0, and 0 times
// -infinity would be NaN.
inline Halide::Expr bounded(const Halide::Expr &below) { return Halide::max(below, -256.0f); }

// What a logit adds to the sums.
inline std::vector<Halide::Expr> row_terms(const Halide::Expr &S, const Halide::Expr &M, const Halide::Target &target) {
    using namespace Halide;
    const Expr below = S - M, p = exp2_nonpositive(below, target), hidden = strict_float(S < kInitialMax);
    const Expr shown = select(hidden, 0.0f, S);
    return {p, p * bounded(below), abs(shown), shown * shown, select(hidden, 0.0f, 1.0f)};
}

// What kernels give for a row, in natural units: sum |logit|, sum logit^2, the greatest logit, the entropy of the softmax, and how many
// logits are visible. Of a row without any the maximum is some large negative number, all else is 0.
//   entropy = -sum p ln p,  ln p = ln2 (S - M) - ln(sum P),  p = P / sum P
inline Halide::Tuple row_stats(const std::vector<Halide::Expr> &sums, const Halide::Expr &M) {
    using namespace Halide;
    const Expr P = sums[kSumP], none = is_zero(P), divisor = select(none, 1.0f, P);
    // log() of a NaN is some number.
    const Expr entropy = select(is_nan(P), P, log(divisor) - kLn2 * (sums[kSumPLog] / divisor));
    return Tuple(sums[kSumMagnitudes] * kLn2, sums[kSumSquares] * (kLn2 * kLn2), M * kLn2, entropy, sums[kSumVisible]);
}

}  // namespace muattn
