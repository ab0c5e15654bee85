// What a checked call of spatial attention looks like to a kernel: the inputs of generators/spatial_attention/logits.h and
// inputs.h, in their order.
#pragma once

#include "call.h"
#include "common/error.h"

namespace muattn {

inline HostArray visible_keys(const SpatialCall &call) {
    constexpr int kNumbers = sizeof(VisibleKeys) / sizeof(int32_t);
    return {&call.visible[0], halide_type_t(halide_type_int, 32),        kNumbers, 1, 2,
            call.B,           call.visible.same_for_all() ? 0 : kNumbers};
}

template<typename Binder>
muattn_status bind(Binder &binder, const SpatialCall &call, const Kernel &kernel) {
    const bool boolean = call.with_mask && call.mask.tensor.dtype == MUATTN_BOOL;
    const int64_t rows[] = {call.B, call.H, call.n_q, 1};
    MUATTN_RETURN_IF_ERROR(binder.input(call.q));
    MUATTN_RETURN_IF_ERROR(binder.input(call.k));
    MUATTN_RETURN_IF_ERROR(binder.input(call.scale.array(call.H)));
    binder.number(call.softcap);
    MUATTN_RETURN_IF_ERROR(binder.input(call.with_mask && !boolean ? call.mask : no_additive_mask()));
    MUATTN_RETURN_IF_ERROR(binder.input(boolean ? call.mask : no_boolean_mask()));
    MUATTN_RETURN_IF_ERROR(binder.input(call.v));
    MUATTN_RETURN_IF_ERROR(binder.input(visible_keys(call)));
    binder.number(int32_t(call.group()));
    binder.number(call.window_first);
    binder.number(call.window_last);
    MUATTN_RETURN_IF_ERROR(binder.input(call.sink.array(call.H)));
    binder.number(call.output_multiplier);
    if (call.with_row_scales()) {
        MUATTN_RETURN_IF_ERROR(binder.input_rows(call.k_scale));
        MUATTN_RETURN_IF_ERROR(binder.input_rows(call.v_scale));
    }
    MUATTN_RETURN_IF_ERROR(binder.output(call.out));
    if (!kernel.features.lse) {
        return MUATTN_OK;
    }
    return call.with_lse ? binder.output_rows(call.lse, call.d_v) : binder.unwanted_rows(rows, call.d_v);
}

}  // namespace muattn
