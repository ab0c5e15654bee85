#include "call.h"

#include <algorithm>
#include <limits>

namespace muattn {

extern const float no_sink = -std::numeric_limits<float>::infinity();

SpatialCall::SpatialCall() = default;

bool SpatialCall::no_window() const {
    for (int64_t b = 0; b < visible.count(); b++) {
        if (visible[b].window_first > 1 - n_q || visible[b].window_last < n_k) {
            return false;
        }
    }
    return true;
}

void put_a_hidden_key(SpatialCall &call) {
    static float zeros[MUATTN_MAX_D];
    const auto one_key = [&](Argument &argument, int64_t columns) {
        argument.tensor = {zeros, argument.tensor.dtype, MUATTN_CPU, {call.B, call.Hk, 1, columns}, {0, 0, 0, 1}, 0};
    };
    one_key(call.k, call.d);
    one_key(call.v, call.d_v);
    if (call.with_row_scales()) {
        one_key(call.k_scale, 1);
        one_key(call.v_scale, 1);
    }
    call.n_k = 1;
    call.with_mask = false;
}

const Argument &no_additive_mask() {
    static float no_bias = 0;
    static const Argument mask{
        "mask", MUATTN_INVALID_MASK, {&no_bias, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 1}, {0, 0, 0, 1}, 0}};
    return mask;
}

const Argument &no_boolean_mask() {
    static uint8_t all_allowed = 1;
    static const Argument mask{
        "mask", MUATTN_INVALID_MASK, {&all_allowed, MUATTN_BOOL, MUATTN_CPU, {1, 1, 1, 1}, {0, 0, 0, 1}, 0}};
    return mask;
}

Need need_of(const SpatialCall &call) {
    Need need{Operation::spatial_attention,
              Direction::forward,
              {call.q.tensor.dtype, call.k.tensor.dtype, call.out.tensor.dtype}};
    if (call.with_mask) {
        need.features.mask = call.mask.tensor.dtype == MUATTN_BOOL ? Mask::boolean : Mask::additive;
    }
    need.features.softcap = call.softcap > 0 ? Softcap::always : Softcap::never;
    need.features.lse = call.with_lse;
    need.features.max_d = int(std::max(call.d, call.d_v));
    need.negative_strides = any_negative_stride({&call.q, &call.k, &call.v, &call.out}) ||
                            (call.with_mask && any_negative_stride({&call.mask})) ||
                            (call.with_lse && any_negative_stride({&call.lse})) ||
                            (call.with_row_scales() && any_negative_stride({&call.k_scale, &call.v_scale}));
    return need;
}

}  // namespace muattn
