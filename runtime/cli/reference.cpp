#include "reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace muattn::cli {
namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

// A dense tensor; a dimension of extent 1 repeats.
double at(const muattn_tensor &t, int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t index[] = {b, h, i, j};
    int64_t position = 0;
    for (int dim = 0; dim < 4; dim++) {
        position = position * t.shape[dim] + (t.shape[dim] == 1 ? 0 : index[dim]);
    }
    return t.dtype == MUATTN_BOOL ? static_cast<const bool *>(t.data)[position]
                                  : double(static_cast<const float *>(t.data)[position]);
}

// Turns logits into softmax weights, in place; returns log(sum(exp(logits))). All hidden: zeros, and -inf.
double softmax(std::vector<double> &logits) {
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (double &x : logits) {
        x = top == kHidden ? 0 : std::exp(x - top);
        sum += x;
    }
    for (double &x : logits) {
        x = sum == 0 ? 0 : x / sum;
    }
    return sum == 0 ? kHidden : top + std::log(sum);
}

double spatial_rule(muattn_scaling scaling, double d, double d_base) {
    if (scaling == MUATTN_SCALING_MUP) {
        return d_base == 0 ? 1 / d : std::sqrt(d_base) / d;
    }
    return 1 / std::sqrt(d);
}

double scale_of(const float *scale, int64_t count, int64_t head, double by_rule) {
    return scale == nullptr ? by_rule : double(scale[count == 1 ? 0 : head]);
}

bool sees(const muattn_spatial_options &options, int64_t n_q, int64_t n_k, int64_t b, int64_t i, int64_t j) {
    int64_t o = 0;
    if (options.causal == MUATTN_CAUSAL_OFFSET) {
        o = options.causal_offsets != nullptr ? options.causal_offsets[b] : options.causal_offset;
    } else if (options.causal == MUATTN_CAUSAL_BOTTOM_RIGHT) {
        o = (options.key_lengths != nullptr ? options.key_lengths[b] : n_k) - n_q;
    }
    const auto [windowed, left, right] = options.window;
    return (options.key_lengths == nullptr || j < options.key_lengths[b]) &&
           (options.causal == MUATTN_CAUSAL_NONE || j <= i + o) && (!windowed || left < 0 || j >= i + o - left) &&
           (!windowed || right < 0 || j <= i + o + right);
}

// What mask adds to a logit.
double masked(const muattn_tensor *mask, int64_t b, int64_t h, int64_t i, int64_t j) {
    if (mask == nullptr) {
        return 0;
    }
    const double m = at(*mask, b, h, i, j);
    return mask->dtype == MUATTN_FLOAT32 ? m : m != 0 ? 0 : kHidden;
}

}  // namespace

SpatialResult spatial_reference(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                const muattn_spatial_options &options) {
    const int64_t B = q.shape[0], H = q.shape[1], n_q = q.shape[2], d = q.shape[3];
    const int64_t group = H / k.shape[1], n_k = k.shape[2], d_v = v.shape[3];
    const double by_rule = spatial_rule(options.scaling, double(d), double(options.d_base)),
                 c = double(options.softcap);
    SpatialResult result;
    std::vector<double> row(static_cast<size_t>(n_k));
    for (int64_t bhi = 0; bhi < B * H * n_q; bhi++) {
        const int64_t b = bhi / (H * n_q), h = bhi / n_q % H, i = bhi % n_q;
        const double s = scale_of(options.scale, options.scale_count, h, by_rule);
        for (int64_t j = 0; j < n_k; j++) {
            double logit = 0;
            for (int64_t x = 0; x < d; x++) {
                logit += s * at(q, b, h, i, x) * at(k, b, h / group, j, x);
            }
            logit = c > 0 ? c * std::tanh(logit / c) : logit;
            row[size_t(j)] = sees(options, n_q, n_k, b, i, j) ? logit + masked(options.mask, b, h, i, j) : kHidden;
        }
        result.lse.push_back(softmax(row));
        for (int64_t x = 0; x < d_v; x++) {
            double sum = 0;
            for (int64_t j = 0; j < n_k; j++) {
                sum += row[size_t(j)] * at(v, b, h / group, j, x);
            }
            result.out.push_back(sum);
        }
    }
    return result;
}

std::vector<double> channel_reference(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                      const muattn_channel_options &options) {
    const bool first = options.layout == MUATTN_CHANNELS_FIRST;
    const int64_t B = q.shape[0], H = q.shape[1], n = q.shape[first ? 3 : 2], d = q.shape[first ? 2 : 3];
    const auto token = [&](const muattn_tensor &x, int64_t b, int64_t h, int64_t t, int64_t i) {
        return first ? at(x, b, h, i, t) : at(x, b, h, t, i);
    };
    const auto length = [&](const muattn_tensor &x, int64_t b, int64_t h, int64_t i) {
        double squares = 0;
        for (int64_t t = 0; t < n; t++) {
            squares += std::pow(token(x, b, h, t, i), 2);
        }
        return options.normalize ? std::max(std::sqrt(squares), 1e-12) : 1.0;
    };
    double o = options.scaling == MUATTN_SCALING_MUP ? double(options.d_base) / double(d) : 1;
    o = options.output_multiplier != nullptr ? double(*options.output_multiplier) : o;
    std::vector<double> out(size_t(B * H * n * d)), row(static_cast<size_t>(d));
    for (int64_t bhi = 0; bhi < B * H * d; bhi++) {
        const int64_t b = bhi / (H * d), h = bhi / d % H, i = bhi % d;
        const double s = scale_of(options.scale, options.scale_count, h, 1 / std::sqrt(double(n)));
        for (int64_t j = 0; j < d; j++) {
            double logit = 0;
            for (int64_t t = 0; t < n; t++) {
                logit += s * token(q, b, h, t, i) * token(k, b, h, t, j);
            }
            row[size_t(j)] = logit / (length(q, b, h, i) * length(k, b, h, j));
        }
        softmax(row);
        for (int64_t t = 0; t < n; t++) {
            double sum = 0;
            for (int64_t j = 0; j < d; j++) {
                sum += row[size_t(j)] * token(v, b, h, t, j);
            }
            out[size_t((b * H + h) * n * d + (first ? i * n + t : t * d + i))] = o * sum;
        }
    }
    return out;
}

}  // namespace muattn::cli
