// What a checked call of channel attention looks like to a kernel: the inputs of its generator, in their order.
#pragma once

#include "algorithms.h"
#include "call.h"
#include "common/error.h"

namespace muattn {

template<typename Binder>
muattn_status bind(Binder &binder, const ChannelCall &call, const Kernel &kernel) {
    MUATTN_RETURN_IF_ERROR(binder.input(call.q));
    MUATTN_RETURN_IF_ERROR(binder.input(call.k));
    MUATTN_RETURN_IF_ERROR(binder.input(call.v));
    MUATTN_RETURN_IF_ERROR(binder.input(call.scale.array(call.H)));
    binder.number(call.output_multiplier);
    if (has_spans(kernel)) {
        binder.number(span_length(call, kernel));
    }
    return binder.output(call.out);
}

}  // namespace muattn
