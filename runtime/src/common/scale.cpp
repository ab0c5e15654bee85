// The scaling rules of muattn.h.
#include <cmath>

#include "error.h"
#include "system/floating_point.h"

namespace muattn {
namespace {

muattn_status check_rule(muattn_scaling scaling, const char *operation) {
    if (scaling == MUATTN_SCALING_MUP_MEAN && operation[0] == 's') {
        return fail(MUATTN_INVALID_SCALING, "scaling: MUP_MEAN is a rule of channel attention only");
    }
    switch (scaling) {
    case MUATTN_SCALING_SP:
    case MUATTN_SCALING_MUP:
    case MUATTN_SCALING_MUP_HEADS:
    case MUATTN_SCALING_MUP_MEAN: return MUATTN_OK;
    }
    return fail(MUATTN_INVALID_SCALING, "scaling: %d is no rule of %s attention", int(scaling), operation);
}

muattn_status check_size(const char *name, int64_t size, const void *result) {
    if (result == nullptr) {
        return fail(MUATTN_INVALID_ARGUMENT, "the result pointer must not be null");
    }
    if (size < 1) {
        return fail(MUATTN_INVALID_ARGUMENT, "%s must be at least 1, not %lld", name, static_cast<long long>(size));
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

// The mode that a caller set before is for numbers in registers too: what is computed from x comes after this.
void after_mode(int64_t &x) { asm volatile("" : "+r"(x) : : "memory"); }

}  // namespace
}  // namespace muattn

extern "C" {

using namespace muattn;

muattn_status muattn_spatial_scale(muattn_scaling scaling, int64_t d, int64_t d_base, double *scale) {
    const DefaultFloatingPoint mode;
    after_mode(d);
    after_mode(d_base);
    MUATTN_RETURN_IF_ERROR(check_size("d", d, scale));
    MUATTN_RETURN_IF_ERROR(check_rule(scaling, "spatial"));
    MUATTN_RETURN_IF_ERROR(check_d_base(d_base));
    if (scaling == MUATTN_SCALING_MUP) {
        *scale = (d_base ? std::sqrt(double(d_base)) : 1.0) / double(d);
    } else {
        *scale = 1.0 / std::sqrt(double(d));
    }
    return MUATTN_OK;
}

muattn_status muattn_channel_scale(muattn_scaling scaling, int64_t n, double *scale) {
    const DefaultFloatingPoint mode;
    after_mode(n);
    MUATTN_RETURN_IF_ERROR(check_size("n", n, scale));
    MUATTN_RETURN_IF_ERROR(check_rule(scaling, "channel"));
    *scale = 1.0 / std::sqrt(double(n));
    return MUATTN_OK;
}

muattn_status muattn_channel_output_multiplier(muattn_scaling scaling, int64_t d, int64_t d_base, double *multiplier) {
    const DefaultFloatingPoint mode;
    after_mode(d);
    after_mode(d_base);
    MUATTN_RETURN_IF_ERROR(check_size("d", d, multiplier));
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
