// Parts of a head's tensors as kernels take them.
#pragma once

#include "kernels/tasks.h"
#include "parts_call.h"

namespace muattn {

// A matrix whose rows are dense: those of a caller's map, or the columns of ours.
struct Matrix {
    float *data;
    int64_t stride;  // floats from one row to the next
};

inline float *head_of(const ChannelPartsCall::Tensor &tensor, int64_t b, int64_t h) {
    return tensor.data() + b * tensor.tensor.strides[0] + h * tensor.tensor.strides[1];
}

inline Matrix map_of(const ChannelPartsCall::Tensor &tensor, int64_t b, int64_t h) {
    return {head_of(tensor, b, h), tensor.tensor.strides[2]};
}

// Channels [c, c + channels) of tokens [t, t + tokens) of a head.
struct TokenRange {
    int64_t t, tokens, c, channels;
};

inline void bind(TaskArguments &arguments, const ChannelPartsCall::Tensor &tensor, bool channels_first, int64_t b,
                 int64_t h, const TokenRange &of) {
    const float *const head = head_of(tensor, b, h);
    const int64_t stride = tensor.tensor.strides[2];
    if (channels_first) {
        arguments.array(head + of.c * stride + of.t, {{of.tokens, 1}, {of.channels, stride}});
    } else {
        arguments.array(head + of.t * stride + of.c, {{of.channels, 1}, {of.tokens, stride}});
    }
}

}  // namespace muattn
