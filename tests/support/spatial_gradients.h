// A backward call of spatial attention as data: made, run, compared with the double-precision gradients.
#pragma once

#include <string>
#include <vector>

#include "reference/spatial_backward.h"
#include "support/cases.h"

namespace muattn::test {

struct SpatialBackwardCase : SpatialCase {
    SpatialBackwardCase() = default;
    explicit SpatialBackwardCase(const SpatialCase &forward) : SpatialCase(forward) {}

    bool with_d_lse = true;  // else it is not given
    // Wanted, where the call can have them.
    bool wants_q = true, wants_k = true, wants_v = true, wants_scale = true, wants_mask = true, wants_sink = true,
         wants_output_multiplier = true;

    bool has_d_mask() const { return wants_mask && mask == additive; }
    bool has_d_sink() const { return wants_sink && !sink.empty(); }
    bool has_d_output_multiplier() const {
        return wants_output_multiplier && (output_multiplier.empty() || output_multiplier[0] != 0);
    }
};

inline SpatialBackwardCase backward_case(int64_t n_q, int64_t n_k, int64_t d, int64_t d_v) {
    SpatialBackwardCase c;
    c.n_q = n_q, c.n_k = n_k, c.d = d, c.d_v = d_v;
    return c;
}

struct SpatialGradientTensors {
    SpatialTensors inputs;  // out and lse hold the forward's result, from the reference
    Tensor d_out, d_lse, d_q, d_k, d_v, d_mask;
    mutable std::vector<float> d_scale, d_sink, d_output_multiplier;

    // Of all gradients, one after the other.
    std::vector<float> results() const;
    void clear() const;
};

std::ostream &operator<<(std::ostream &out, const SpatialBackwardCase &c);

SpatialGradientTensors make_gradient_tensors(const SpatialBackwardCase &c);
// The same from inputs, which may have been changed.
void write_forward_result(const SpatialBackwardCase &c, SpatialGradientTensors &t);

muattn_status run(const SpatialBackwardCase &c, const SpatialGradientTensors &t);

// Runs the case on the current backend and expects: success, every gradient within the bounds of the error model, nothing written but
// the gradients' elements, and a kernel of this backend as the one that ran.
void expect_gradients_agree(const SpatialBackwardCase &c, const SpatialGradientTensors &t,
                            const Instead &instead = nullptr);
inline void expect_gradients_agree(const SpatialBackwardCase &c) {
    expect_gradients_agree(c, make_gradient_tensors(c));
}

// How far each gradient may be from the reference. With u = 2^-23, N a sum's terms and w(N) = u (1 + sqrt(N) / 8) for adding them up:
//   - A weight P = exp(logit - lse) has the relative error u (4 + A + |logit| + |mask| + 2 |lse|), A = |s| sum_e |q_e k_e| as in compare.h: the product's
//     error, the mask's, that of lse, a float, taken to units of log 2, and of the difference.
//   - dZ = P (dO . v - D), dO = o d_out: the weight's error times the difference, and P times the two sums' errors, w(d_v) times the sums of
//     magnitudes; out and dO are rounded, which is in that.
//   - With softcap, 1 - tanh^2 has an error of 8 u + 2 u A / c.
//   - Every gradient is a sum of products of these with inputs: the magnitudes of its terms times w(N), and each term's own error.
//   - d_scale is a sum over all elements of q d_q / s, with the errors of d_q.
//   - d_sink is a sum of exp(sink - lse) D, whose weight has the relative error u (4 + 2 |lse| + |sink|).
//   - d_output_multiplier is a sum of d_out . out over all rows, divided by o.
// A weight below 2^-126 may be 0, and every term may lose a denormal number.
reference::SpatialGradients allowed_gradient_errors(const SpatialBackwardCase &c, const SpatialGradientTensors &t);

}  // namespace muattn::test
