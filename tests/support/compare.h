// How far a float32 result may be from the double-precision reference, and the comparison itself.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>

#include "support/tensors.h"

namespace muattn::test {

// The error model. With u = 2^-23:
//   - A logit x = s sum_e q_e k_e has an error of about u A, where A = |s| sum_e |q_e k_e|: rounding s * log2(e), q times
//     that, and each product and sum does as much, whatever x itself is (it may be small by cancellation). So the weights
//     have relative errors of about 2 u A: the row's own and, through the sum, those of the others.
//   - The power of two adds 2e-7 < 2 u, once for a weight and once for the sum.
//   - Sums over n weights, one after the other, add about u sqrt(n) / 4: roundings of either sign.
// The output is a mean of values with these weights, so its error is that times the largest |v| of the row.
// The factors are about twice what the kernels of all backends reach, so that a loss of accuracy shows. Rows of normal
// numbers with s = 1/sqrt(d) come out at 1e-6 to 3e-6 of the row's largest value; logits of size 1e4 at 2e-3.
double allowed_weight_error(double logit_size, int64_t terms);

// For one element of the output.
double allowed_output_error(double logit_size, double value_size, int64_t terms);

// For the log-sum-exp of a row: the logits' errors and the relative error of the sum.
double allowed_lse_error(double logit_size, int64_t terms);

// An element's expected value and the error allowed.
struct Expected {
    double value, allowed;
};

// Every element is as expected. Where the reference has NaN or an infinity, so must the result.
testing::AssertionResult agrees(const Tensor &got,
                                const std::function<Expected(int64_t b, int64_t h, int64_t i, int64_t e)> &expected);

}  // namespace muattn::test
