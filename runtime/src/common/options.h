// Options that several operations have: their ranges and rules.
#pragma once

#include "bound_buffer.h"

namespace muattn {

// What scales may be, by magnitude, so that what kernels make of them is a normal number: they multiply them by log2(e), and for
// normalised channels by up to 1e12 as well.
constexpr float kMinScale = 1e-37f, kMaxScale = 1e38f, kMaxNormalizedScale = 1e25f;
// The same for output multipliers: kernels divide them by numbers from 1 up to MUATTN_MAX_D in channel attention, 2^30 in spatial attention.
constexpr float kMinChannelMultiplier = 1e-34f, kMinSpatialMultiplier = 1e-28f, kMaxOutputMultiplier = 1e38f;
// NaN is not.
bool is_zero_or_between(float x, float least, float most);

// One number, or one per head.
struct PerHead {
    const float *values = nullptr;
    bool differ = false;

    float at(int64_t head) const { return values[differ ? head : 0]; }
    HostArray array(int64_t heads) const { return {values, halide_type_t(halide_type_float, 32), heads, differ}; }
};

// scale and scale_count of the options: numbers in the range that kernels take, one or one per head; null: the rule's.
muattn_status check_scale(PerHead &checked, const float *scale, int64_t count, int64_t heads, float most = kMaxScale);

// o of the options, in the range that kernels take.
muattn_status check_output_multiplier(float given, float least);

}  // namespace muattn
