// The scaling rules of muattn.h.
#include "scale.h"

#include <algorithm>
#include <cmath>

#include "error.h"
#include "options.h"
#include "system/floating_point.h"

namespace muattn {
namespace {

muattn_status check_rule(muattn_scaling scaling, const char *operation) {
    if (scaling == MUATTN_SCALING_MUP_MEAN && operation[0] == 's') {
        return fail(MUATTN_INVALID_SCALING, "scaling: MUP_MEAN is a rule of channel attention only");
    }
    if (scaling == MUATTN_SCALING_UMUP && operation[0] == 'c') {
        return fail(MUATTN_INVALID_SCALING, "scaling: UMUP is a rule of spatial attention only");
    }
    switch (scaling) {
    case MUATTN_SCALING_SP:
    case MUATTN_SCALING_MUP:
    case MUATTN_SCALING_MUP_HEADS:
    case MUATTN_SCALING_MUP_MEAN:
    case MUATTN_SCALING_UMUP: return MUATTN_OK;
    }
    return fail(MUATTN_INVALID_SCALING, "scaling: %d is no rule of %s attention", int(scaling), operation);
}

muattn_status check_result(const void *result) {
    return result != nullptr ? MUATTN_OK : fail(MUATTN_INVALID_ARGUMENT, "the result pointer must not be null");
}

muattn_status check_size(const char *name, int64_t size, int64_t least = 1) {
    if (size < least) {
        return fail(MUATTN_INVALID_ARGUMENT, "%s must be at least %lld, not %lld", name, static_cast<long long>(least),
                    static_cast<long long>(size));
    }
    return MUATTN_OK;
}

muattn_status check_d_base(int64_t d_base) {
    if (d_base < 0) {
        return fail(MUATTN_INVALID_SCALING, "d_base must be at least 1, or 0 for 'not given', not %lld",
                    static_cast<long long>(d_base));
    }
    return MUATTN_OK;
}

// Of a number that a rule has besides its sizes: 0 means 1.
muattn_status check_factor(const char *name, double factor, const float *scale) {
    if (!(factor >= 0 && factor < HUGE_VAL)) {
        return fail(MUATTN_INVALID_SCALING, "%s must be finite and above 0, or 0 for 1, not %g", name, factor);
    }
    if (factor != 0 && scale != nullptr) {
        return fail(MUATTN_INVALID_SCALING, "%s: not where scale is given, which is s itself", name);
    }
    return MUATTN_OK;
}

double or_one(double factor) { return factor != 0 ? factor : 1; }

// A rule's scale, in range.
muattn_status check_rule_scale(const char *factors, double scale, float most) {
    if (!(float(scale) >= kMinScale && float(scale) <= most)) {
        return fail(MUATTN_INVALID_SCALING, "%s: then the scale must be of magnitude %g..%g, not %g", factors,
                    double(kMinScale), double(most), scale);
    }
    return MUATTN_OK;
}

// s of the rule without alpha.
double spatial_scale(muattn_scaling scaling, double d, double d_base, double power) {
    switch (scaling) {
    case MUATTN_SCALING_MUP: return (d_base != 0 ? std::sqrt(d_base) : 1.0) / (power == 1 ? d : std::pow(d, power));
    case MUATTN_SCALING_UMUP: return 1.0 / d;
    default: return 1.0 / std::sqrt(d);
    }
}

// The deviation of attention's output for random queries, keys and values, as u-muP has it: between that of a mean over all visible
// keys, where logits are small, and that of one value.
double unit_deviation(double d, double n_k, double alpha, bool causal) {
    const double of_mean = std::sqrt((causal ? std::log(n_k) : 1.0) / n_k), to_one = 1 / (1 + 4 * d / (alpha * alpha));
    return of_mean > 0 ? std::exp((1 - to_one) * std::log(of_mean)) : 1;
}

struct SpatialRule {
    double scale, output_multiplier;
};

muattn_status spatial_rule(const muattn_spatial_options &options, int64_t d, int64_t n_k, SpatialRule &rule) {
    MUATTN_RETURN_IF_ERROR(check_size("d", d));
    MUATTN_RETURN_IF_ERROR(check_size("n_k", n_k, 0));
    MUATTN_RETURN_IF_ERROR(check_rule(options.scaling, "spatial"));
    MUATTN_RETURN_IF_ERROR(check_d_base(options.d_base));
    MUATTN_RETURN_IF_ERROR(check_factor("alpha", options.alpha, options.scale));
    MUATTN_RETURN_IF_ERROR(check_factor("power", options.power, options.scale));
    if (options.power != 0 && options.scaling != MUATTN_SCALING_MUP) {
        return fail(MUATTN_INVALID_SCALING, "power: only MUATTN_SCALING_MUP has one");
    }
    const double alpha = or_one(options.alpha);
    rule.scale = alpha * spatial_scale(options.scaling, double(d), double(options.d_base), or_one(options.power));
    MUATTN_RETURN_IF_ERROR(check_rule_scale("alpha, power", rule.scale, kMaxScale));
    MUATTN_RETURN_IF_ERROR(check_alignment(options.causal));
    rule.output_multiplier = 1;
    if (options.scaling == MUATTN_SCALING_UMUP) {
        const bool causal = options.causal != MUATTN_CAUSAL_NONE;
        rule.output_multiplier = 1 / unit_deviation(double(d), double(std::max<int64_t>(n_k, 1)), alpha, causal);
    }
    return MUATTN_OK;
}

// The mode that a caller set before is for numbers in registers too: what is computed from x comes after this.
void after_mode(int64_t &x) { asm volatile("" : "+r"(x) : : "memory"); }

}  // namespace

muattn_status check_alignment(muattn_causal causal) {
    return causal >= MUATTN_CAUSAL_NONE && causal <= MUATTN_CAUSAL_OFFSET
               ? MUATTN_OK
               : fail(MUATTN_INVALID_CAUSAL, "causal: %d is no alignment", int(causal));
}

muattn_status channel_rule_scale(const muattn_channel_options &options, int64_t tokens, float most, float *scale) {
    double exact = 0;
    MUATTN_RETURN_IF_ERROR(check_factor("alpha", options.alpha, options.scale));
    MUATTN_RETURN_IF_ERROR(muattn_channel_scale(options.scaling, tokens, &exact));
    exact *= or_one(options.alpha);
    MUATTN_RETURN_IF_ERROR(check_rule_scale("alpha", exact, most));
    *scale = float(exact);
    return MUATTN_OK;
}

}  // namespace muattn

extern "C" {

using namespace muattn;

muattn_status muattn_spatial_rule(const muattn_spatial_options *options, int64_t d, int64_t n_k, double *scale,
                                  double *output_multiplier) {
    const DefaultFloatingPoint mode;
    after_mode(d);
    after_mode(n_k);
    static constexpr muattn_spatial_options kDefaults{};
    SpatialRule rule{};
    MUATTN_RETURN_IF_ERROR(spatial_rule(options != nullptr ? *options : kDefaults, d, n_k, rule));
    if (scale != nullptr) {
        *scale = rule.scale;
    }
    if (output_multiplier != nullptr) {
        *output_multiplier = rule.output_multiplier;
    }
    return MUATTN_OK;
}

muattn_status muattn_spatial_scale(muattn_scaling scaling, int64_t d, int64_t d_base, double *scale) {
    MUATTN_RETURN_IF_ERROR(check_result(scale));
    muattn_spatial_options options{};
    options.scaling = scaling;
    options.d_base = d_base;
    return muattn_spatial_rule(&options, d, 0, scale, nullptr);
}

muattn_status muattn_channel_scale(muattn_scaling scaling, int64_t n, double *scale) {
    const DefaultFloatingPoint mode;
    after_mode(n);
    MUATTN_RETURN_IF_ERROR(check_result(scale));
    MUATTN_RETURN_IF_ERROR(check_size("n", n));
    MUATTN_RETURN_IF_ERROR(check_rule(scaling, "channel"));
    *scale = 1.0 / std::sqrt(double(n));
    return MUATTN_OK;
}

muattn_status muattn_channel_output_multiplier(muattn_scaling scaling, int64_t d, int64_t d_base, double *multiplier) {
    const DefaultFloatingPoint mode;
    after_mode(d);
    after_mode(d_base);
    MUATTN_RETURN_IF_ERROR(check_result(multiplier));
    MUATTN_RETURN_IF_ERROR(check_size("d", d));
    MUATTN_RETURN_IF_ERROR(check_rule(scaling, "channel"));
    MUATTN_RETURN_IF_ERROR(check_d_base(d_base));
    if (scaling == MUATTN_SCALING_MUP) {
        if (d_base == 0) {
            return fail(MUATTN_INVALID_SCALING,
                        "d_base: MUP channel attention needs it: the output multiplier is d_base/d");
        }
        *multiplier = double(d_base) / double(d);
    } else {
        *multiplier = 1.0;
    }
    return MUATTN_OK;
}
}
