// What a checked call of spatial attention looks like to a kernel.
#include "call.h"

#include <algorithm>

namespace muattn {

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
        argument.tensor = {zeros, MUATTN_FLOAT32, MUATTN_CPU, {call.B, call.Hk, 1, columns}, {0, 0, 0, 1}, 0};
    };
    one_key(call.k, call.d);
    one_key(call.v, call.d_v);
    call.n_k = 1;
    call.with_mask = false;
}

void bind_visible_keys(BoundBuffer &buffer, const SpatialCall &call) {
    constexpr int kNumbers = sizeof(VisibleKeys) / sizeof(int32_t);
    buffer.bind_vector(&call.visible[0], halide_type_t(halide_type_int, 32), kNumbers, 1);
    buffer.dims[1] = halide_dimension_t(0, int32_t(call.B), call.visible.same_for_all() ? 0 : kNumbers);
    buffer.buffer.dimensions = 2;
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

}  // namespace muattn
