#include "support/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace muattn::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Sizes are about the finite numbers: an infinite one must not allow any error elsewhere.
void grow(double &size, double x) {
    if (std::isfinite(x)) {
        size = std::max(size, std::fabs(x));
    }
}

struct Dot {
    double value = 0, size = 0;
};

double mask_at(const Tensor &mask, int64_t b, int64_t h, int64_t i, int64_t j) {
    return mask.at(mask.size(0) == 1 ? 0 : b, mask.size(1) == 1 ? 0 : h, mask.size(2) == 1 ? 0 : i,
                   mask.size(3) == 1 ? 0 : j);
}

// max(|channel i| over tokens, eps), as torch.nn.functional.normalize divides by.
double channel_length(const Tensor &x, int64_t b, int64_t h, int64_t i) {
    double squares = 0;
    for (int64_t u = 0; u < x.size(2); u++) {
        squares += double(x.at(b, h, u, i)) * double(x.at(b, h, u, i));
    }
    return std::max(std::sqrt(squares), 1e-12);
}

}  // namespace

double spatial_scale_by_rule(muattn_scaling scaling, int64_t d, int64_t d_base) {
    if (scaling == MUATTN_SCALING_MUP) {
        return d_base == 0 ? 1.0 / double(d) : std::sqrt(double(d_base)) / double(d);
    }
    return 1.0 / std::sqrt(double(d));
}

double channel_scale_by_rule(int64_t n) { return 1.0 / std::sqrt(double(n)); }

double channel_multiplier_by_rule(muattn_scaling scaling, int64_t d, int64_t d_base) {
    return scaling == MUATTN_SCALING_MUP ? double(d_base) / double(d) : 1.0;
}

bool sees(const SpatialRules &rules, int64_t n_q, int64_t n_k, int64_t b, int64_t i, int64_t j) {
    if (!rules.key_lengths.empty() && j >= rules.key_lengths[size_t(b)]) {
        return false;
    }
    // Wide enough for any offset and window.
    using Wide = __int128;
    Wide offset = 0;
    if (rules.causal == MUATTN_CAUSAL_BOTTOM_RIGHT) {
        offset = (rules.key_lengths.empty() ? n_k : rules.key_lengths[size_t(b)]) - n_q;
    } else if (rules.causal == MUATTN_CAUSAL_OFFSET) {
        offset = rules.causal_offsets.empty() ? rules.causal_offset : rules.causal_offsets[size_t(b)];
    }
    if (rules.causal != MUATTN_CAUSAL_NONE && j > i + offset) {
        return false;
    }
    if (rules.window.enabled) {
        const bool too_far_left = rules.window.left >= 0 && j < i + offset - rules.window.left;
        const bool too_far_right = rules.window.right >= 0 && j > i + offset + rules.window.right;
        return !too_far_left && !too_far_right;
    }
    return true;
}

std::vector<SpatialRow> spatial_reference(const Tensor &q, const Tensor &k, const Tensor &v,
                                          const SpatialRules &rules) {
    const int64_t B = q.size(0), H = q.size(1), n_q = q.size(2), d = q.size(3);
    const int64_t heads_per_kv = H / k.size(1), n_k = k.size(2), d_v = v.size(3);
    std::vector<SpatialRow> rows;
    for (int64_t b = 0; b < B; b++) {
        for (int64_t h = 0; h < H; h++) {
            const int64_t h_kv = h / heads_per_kv;
            for (int64_t i = 0; i < n_q; i++) {
                SpatialRow row;
                row.out.assign(size_t(d_v), 0.0);
                std::vector<int64_t> keys;
                std::vector<double> logits;
                double m = -kInfinity;
                for (int64_t j = 0; j < n_k; j++) {
                    if (!sees(rules, n_q, n_k, b, i, j)) {
                        continue;
                    }
                    const float *q_i = q.row(b, h, i), *k_j = k.row(b, h_kv, j);
                    double dot = 0, size = 0;
                    for (int64_t e = 0; e < d; e++) {
                        dot += double(q_i[e]) * double(k_j[e]);
                        size += std::fabs(double(q_i[e]) * double(k_j[e]));
                    }
                    double logit = rules.scale[size_t(h)] * dot;
                    if (rules.softcap > 0) {
                        logit = rules.softcap * std::tanh(logit / rules.softcap);
                        grow(row.capped_size, logit);
                    }
                    if (rules.mask != nullptr) {
                        const double mask = mask_at(*rules.mask, b, h, i, j);
                        if (rules.mask_is_boolean ? mask == 0 : mask == -kInfinity) {
                            continue;
                        }
                        logit += rules.mask_is_boolean ? 0 : mask;
                        grow(row.logit_size, rules.mask_is_boolean ? 0 : mask);
                    }
                    keys.push_back(j);
                    logits.push_back(logit);
                    m = logit > m ? logit : m;
                    grow(row.logit_size, rules.scale[size_t(h)] * size);
                }
                double l = 0;
                for (size_t x = 0; x < keys.size(); x++) {
                    const double p = std::exp(logits[x] - m);
                    const float *v_j = v.row(b, h_kv, keys[x]);
                    l += p;
                    for (int64_t e = 0; e < d_v; e++) {
                        row.out[size_t(e)] += p * double(v_j[e]);
                        grow(row.value_size, double(v_j[e]));
                    }
                }
                for (double &o : row.out) {
                    o = keys.empty() ? 0.0 : o / l;
                }
                row.logit_size += 2 * row.capped_size;
                row.lse = keys.empty() ? -kInfinity : m + std::log(l);
                row.visible = int64_t(keys.size());
                rows.push_back(row);
            }
        }
    }
    return rows;
}

std::vector<ChannelHead> channel_reference(const Tensor &q, const Tensor &k, const Tensor &v,
                                           const std::vector<double> &scale, double output_multiplier, bool normalize) {
    const int64_t B = q.size(0), H = q.size(1), n = q.size(2), d = q.size(3);
    std::vector<ChannelHead> heads;
    for (int64_t b = 0; b < B; b++) {
        for (int64_t h = 0; h < H; h++) {
            const double s = scale[size_t(h)];
            ChannelHead head;
            head.out.assign(size_t(n * d), 0.0);
            head.logit_size.assign(size_t(d), 0.0);
            head.value_size.assign(size_t(n), 0.0);
            for (int64_t i = 0; i < d; i++) {
                // Row i of the map: Q^T K, one token at a time.
                std::vector<Dot> dots(static_cast<size_t>(d));
                for (int64_t u = 0; u < n; u++) {
                    const double q_ui = double(q.at(b, h, u, i));
                    for (int64_t j = 0; j < d; j++) {
                        const double product = q_ui * double(k.at(b, h, u, j));
                        dots[size_t(j)].value += product;
                        dots[size_t(j)].size += std::fabs(product);
                    }
                }
                for (int64_t j = 0; normalize && j < d; j++) {
                    const double lengths = channel_length(q, b, h, i) * channel_length(k, b, h, j);
                    dots[size_t(j)].value /= lengths;
                    dots[size_t(j)].size /= lengths;
                }
                double m = -kInfinity, l = 0;
                for (const Dot &dot : dots) {
                    m = s * dot.value > m ? s * dot.value : m;
                    grow(head.logit_size[size_t(i)], s * dot.size);
                }
                std::vector<double> p;
                for (const Dot &dot : dots) {
                    p.push_back(std::exp(s * dot.value - m));
                    l += p.back();
                }
                for (int64_t t = 0; t < n; t++) {
                    double sum = 0;
                    for (int64_t j = 0; j < d; j++) {
                        sum += p[size_t(j)] * double(v.at(b, h, t, j));
                        grow(head.value_size[size_t(t)], output_multiplier * double(v.at(b, h, t, j)));
                    }
                    head.out[size_t(t * d + i)] = output_multiplier * sum / l;
                }
            }
            heads.push_back(head);
        }
    }
    return heads;
}

}  // namespace muattn::test
