// How far a float32 result may be from the double-precision reference, and the comparison itself.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>

#include "support/tensors.h"

namespace muattn::test {

// The error model. With u = 2^-23:
//   - A logit x = s sum_e q_e k_e has an error of about u A, where A = |s| sum_e |q_e k_e|: rounding s * log2(e), q times
//     that, and each product and sum does as much, whatever x itself is (it may be small by cancellation). A weight exp(x)
//     has that as its relative error.
//   - The power of two adds 2e-7 < 2 u to a weight.
//   - Sums over n weights, one after the other, add about u sqrt(n) / 8: roundings of either sign.
// So a weight may be wrong by w = u (2 + A + sqrt(n) / 8). The output is a mean of values with these weights: it may be
// wrong by w times the largest |v| that the row sees. The log-sum-exp may be wrong by 2 w (here nothing cancels between
// the logits and their sum) plus its own rounding, of a number up to A + log(n).
// The kernels of all backends reach up to 0.65 of these bounds, so that a loss of accuracy shows. For normal numbers,
// d = 64 and s = 1/sqrt(d), the output's bound is about 1.2e-6 of the largest value; with logits of size 1e4 it is 2e-3.

// Gradients are sums of products of such weights with other sums over tokens. channel_gradients.cpp has their bounds.

// w, of a weight in a row of n terms.
double relative_weight_error(double logit_size, int64_t terms);

// For one element of the output. logit_size: A; terms: n.
double allowed_output_error(double logit_size, double value_size, int64_t terms);

// For the log-sum-exp of a row.
double allowed_lse_error(double logit_size, int64_t terms);

// An element's expected value and the error allowed.
struct Expected {
    double value, allowed;
};

// Every element is as expected. Where the reference has NaN or an infinity, so must the result.
testing::AssertionResult agrees(const Tensor &got,
                                const std::function<Expected(int64_t b, int64_t h, int64_t i, int64_t e)> &expected);

}  // namespace muattn::test
