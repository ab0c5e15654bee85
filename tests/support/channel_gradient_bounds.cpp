// The bounds. With u = 2^-23, for a row i of the map:
//   - A weight A_ij is wrong by 2 w_i A_ij (compare.h): by its own power of two, and by those of the row's sum. Norms round logits as much
//     as their products do.
//   - A sum of products over tokens, S_ij = sum_t x_ti y_tj or m_ij = sum_t d_out_ti V_tj, is wrong by u times the sum of their magnitudes,
//     S'_ij or m'_ij; by itself, not under a softmax or a sum, by u (1 + sqrt(n) / 2) times that.
//   - So D_i = sum_j A_ij m_ij is wrong by 2 (w_i + u) M_i with M_i = sum_j A_ij m'_ij, and dz_ij = o A_ij (m_ij - D_i) by 2 (w_i + u) Z_ij
//     with Z_ij = |o| A_ij (m'_ij + 2 M_i): its factors A, m and D each may be.
//   - What is a sum over dz may be wrong by the same sum of magnitudes over 2 (w_i + u) Z_ij: d_q_ti = s sum_j dz_ij y_tj, d_k, and
//     sum_ij dz_ij S_ij; through the norms also x_ti sum_j dz_ij S_ij. d_v_tj = o sum_i d_out_ti A_ij has 2 w_i A_ij instead.
// Roundings of either sign cancel in these sums, so that results stay far below: gradients of 64 channels reach a tenth.
#include "support/channel_gradient_bounds.h"

#include "reference/softmax.h"

namespace muattn::test {
namespace {

using reference::ChannelMatrix;
using reference::Dot;

std::vector<double> squares_of(const ChannelMatrix &matrix) {
    std::vector<double> sums(static_cast<size_t>(matrix.d));
    for (int64_t t = 0; t < matrix.n; t++) {
        for (int64_t i = 0; i < matrix.d; i++) {
            sums[size_t(i)] += matrix.at(t, i) * matrix.at(t, i);
        }
    }
    return sums;
}

}  // namespace

ChannelGradientBounds::ChannelGradientBounds(const ChannelGradientCase &c, const ChannelGradientTensors &t, int64_t b,
                                             int64_t h)
    : x(t.forward.q.view(), c.channels, b, h),
      y(t.forward.k.view(), c.channels, b, h),
      v(t.forward.v.view(), c.channels, b, h),
      d_out(t.d_out.view(), c.channels, b, h),
      q_lengths(c.normalize ? x.lengths() : std::vector<double>(size_t(c.d), 1.0)),
      k_lengths(c.normalize ? y.lengths() : std::vector<double>(size_t(c.d), 1.0)),
      q_squares(squares_of(x)),
      k_squares(squares_of(y)) {
    const muattn_channel_options options = c.options();
    scale = reference::channel_scale(options, c.n, h);
    multiplier = reference::channel_multiplier(options, c.d);
    for (int64_t i = 0; i < c.d; i++) {
        map.push_back(reference::map_row(x, y, i));
        d_map.push_back(reference::map_row(d_out, v, i));
        std::vector<Dot> row = map.back();
        reference::normalize(row, q_lengths[size_t(i)], k_lengths);
        std::vector<double> logits, sizes, weights, errors;
        double logit_size = 0, mean_size = 0;
        for (const Dot &dot : row) {
            logits.push_back(scale * dot.value);
            sizes.push_back(dot.size);
            reference::grow(logit_size, scale * dot.size);
        }
        const reference::Softmax softmax(logits);
        for (int64_t j = 0; j < c.d; j++) {
            weights.push_back(softmax.normalized(softmax.weights[size_t(j)]));
            mean_size += weights.back() * d_map.back()[size_t(j)].size;
        }
        weight.push_back(relative_weight_error(logit_size * (c.normalize ? 2 : 1), c.d));
        for (int64_t j = 0; j < c.d; j++) {
            const double z =
                std::fabs(multiplier) * weights[size_t(j)] * (d_map.back()[size_t(j)].size + 2 * mean_size);
            errors.push_back(2 * (weight.back() + kUnit) * z);
        }
        A.push_back(weights);
        Z.push_back(errors);
        S_size.push_back(sizes);
    }
    divide(x, q_lengths);
    divide(y, k_lengths);
}

void ChannelGradientBounds::divide(ChannelMatrix &matrix, const std::vector<double> &lengths) const {
    for (size_t place = 0; place < matrix.numbers.size(); place++) {
        matrix.numbers[place] /= lengths[place % size_t(matrix.d)];
    }
}

double ChannelGradientBounds::of_q(int64_t token, int64_t i) const {
    double sum = 0;
    for (int64_t j = 0; j < d(); j++) {
        sum += Z[size_t(i)][size_t(j)] *
               (std::fabs(y.at(token, j)) + std::fabs(x.at(token, i)) * S_size[size_t(i)][size_t(j)]);
    }
    return std::fabs(scale) * sum / q_lengths[size_t(i)];
}

double ChannelGradientBounds::of_k(int64_t token, int64_t j) const {
    double sum = 0;
    for (int64_t i = 0; i < d(); i++) {
        sum += Z[size_t(i)][size_t(j)] *
               (std::fabs(x.at(token, i)) + std::fabs(y.at(token, j)) * S_size[size_t(i)][size_t(j)]);
    }
    return std::fabs(scale) * sum / k_lengths[size_t(j)];
}

double ChannelGradientBounds::of_v(int64_t token, int64_t j) const {
    double sum = 0;
    for (int64_t i = 0; i < d(); i++) {
        sum += 2 * weight[size_t(i)] * A[size_t(i)][size_t(j)] * std::fabs(d_out.at(token, i));
    }
    return std::fabs(multiplier) * sum;
}

double ChannelGradientBounds::of_scale() const {
    double sum = 0;
    for (int64_t i = 0; i < d(); i++) {
        for (int64_t j = 0; j < d(); j++) {
            sum += Z[size_t(i)][size_t(j)] * S_size[size_t(i)][size_t(j)];
        }
    }
    return sum;
}

double ChannelGradientBounds::of_multiplier() const {
    double sum = 0;
    for (int64_t i = 0; i < d(); i++) {
        for (int64_t j = 0; j < d(); j++) {
            sum += 2 * (weight[size_t(i)] + kUnit) * A[size_t(i)][size_t(j)] * d_map[size_t(i)][size_t(j)].size;
        }
    }
    return sum;
}

std::vector<ChannelGradientBounds> bounds_of(const ChannelGradientCase &c, const ChannelGradientTensors &t) {
    std::vector<ChannelGradientBounds> heads;
    for (int64_t b = 0; b < c.B; b++) {
        for (int64_t h = 0; h < c.H; h++) {
            heads.emplace_back(c, t, b, h);
        }
    }
    return heads;
}

}  // namespace muattn::test
