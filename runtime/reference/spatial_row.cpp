#include "reference/spatial_row.h"

#include <cmath>
#include <limits>

namespace muattn::reference {
namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();
// A mask below this hides its key.
constexpr double kLeastMask = -7e37;

double or_one(double x) { return x != 0 ? x : 1; }

double scale_by_rule(const muattn_spatial_options &options, double d) {
    const double d_base = double(options.d_base), alpha = or_one(options.alpha);
    switch (options.scaling) {
    case MUATTN_SCALING_MUP: return alpha * std::sqrt(or_one(d_base)) * std::pow(d, -or_one(options.power));
    case MUATTN_SCALING_UMUP: return alpha / d;
    default: return alpha / std::sqrt(d);
    }
}

// 1 / sigma.
double multiplier_by_rule(const muattn_spatial_options &options, double d, double n) {
    const double alpha = or_one(options.alpha), square = (options.causal != MUATTN_CAUSAL_NONE ? std::log(n) : 1) / n;
    if (options.scaling != MUATTN_SCALING_UMUP || !(square > 0) || n == 0) {
        return 1;
    }
    const double a = alpha * alpha / (alpha * alpha + 4 * d);
    return std::pow(square, (a - 1) / 2);
}

// The o of causal and window.
int64_t causal_offset(const SpatialInputs &in, int64_t b) {
    const muattn_spatial_options &options = in.options;
    switch (options.causal) {
    case MUATTN_CAUSAL_NONE:
    case MUATTN_CAUSAL_TOP_LEFT: break;
    case MUATTN_CAUSAL_BOTTOM_RIGHT:
        return (options.key_lengths != nullptr ? options.key_lengths[b] : in.n_k()) - in.n_q();
    case MUATTN_CAUSAL_OFFSET:
        return options.causal_offsets != nullptr ? options.causal_offsets[b] : options.causal_offset;
    }
    return 0;
}

}  // namespace

SpatialInputs spatial_inputs(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                             const muattn_spatial_options &options) {
    SpatialInputs in{Elements(q), Elements(k), Elements(v), {}, {}, {}, options};
    const auto add = [](std::optional<Elements> &to, const muattn_tensor *given) {
        if (given != nullptr) {
            to.emplace(*given);
        }
    };
    add(in.mask, options.mask);
    add(in.k_scale, options.k_scale);
    add(in.v_scale, options.v_scale);
    return in;
}

double spatial_scale(const SpatialInputs &in, int64_t h) {
    const muattn_spatial_options &options = in.options;
    if (options.scale != nullptr) {
        return double(options.scale[options.scale_count == 1 ? 0 : h]);
    }
    return scale_by_rule(options, double(in.d()));
}

double spatial_multiplier(const SpatialInputs &in) {
    const muattn_spatial_options &options = in.options;
    return options.output_multiplier != nullptr ? double(*options.output_multiplier)
                                                : multiplier_by_rule(options, double(in.d()), double(in.n_k()));
}

bool sees(const SpatialInputs &in, const Query &query, int64_t j) {
    const muattn_spatial_options &options = in.options;
    if (options.key_lengths != nullptr && j >= options.key_lengths[query.b]) {
        return false;
    }
    // Wide enough for any offset and window.
    using Wide = __int128;
    const Wide diagonal = Wide(query.i) + causal_offset(in, query.b);
    if (options.causal != MUATTN_CAUSAL_NONE && j > diagonal) {
        return false;
    }
    const auto &[windowed, left, right] = options.window;
    const bool too_far_left = windowed && left >= 0 && j < diagonal - left;
    const bool too_far_right = windowed && right >= 0 && j > diagonal + right;
    return !too_far_left && !too_far_right;
}

Dot scaled_dot(const SpatialInputs &in, const Query &query, int64_t j) {
    const auto [b, h, i] = query;
    const int64_t h_kv = in.kv_head(h);
    Dot dot;
    for (int64_t e = 0; e < in.d(); e++) {
        dot.add(in.q.at(b, h, i, e) * in.key(b, h_kv, j, e));
    }
    const double scale = spatial_scale(in, h);
    return {scale * dot.value, std::fabs(scale) * dot.size};
}

double with_softcap(const SpatialInputs &in, double logit) {
    const double c = double(in.options.softcap);
    return c > 0 ? c * std::tanh(logit / c) : logit;
}

double mask_term(const SpatialInputs &in, const Query &query, int64_t j) {
    if (!in.mask) {
        return 0;
    }
    const double mask = in.mask->at(query.b, query.h, query.i, j);
    if (in.options.mask->dtype == MUATTN_BOOL) {
        return mask != 0 ? 0 : kHidden;
    }
    return mask < kLeastMask ? kHidden : mask;
}

}  // namespace muattn::reference
