// Parts of a head's tensors as kernels take them.
#pragma once

#include "kernels/convert.h"
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

// Some tokens of a head as kernels read or write them: as float32.
class Tokens : public FloatRows {
public:
    Tokens(CallContext &context, const Converter &converter, const ChannelPartsCall::Tensor &tensor,
           bool channels_first, int64_t b, int64_t h, const TokenRange &of)
        : FloatRows(context, converter, rows(tensor, channels_first, b, h, of)),
          columns_(channels_first ? of.tokens : of.channels),
          rows_(channels_first ? of.channels : of.tokens) {}

    // After read() or open().
    void bind(TaskArguments &arguments) const { arguments.array(data(), {{columns_, 1}, {rows_, row_stride()}}); }

private:
    static Rows rows(const ChannelPartsCall::Tensor &tensor, bool channels_first, int64_t b, int64_t h,
                     const TokenRange &of) {
        const int64_t row = channels_first ? of.c : of.t, column = channels_first ? of.t : of.c;
        const int64_t columns = channels_first ? of.tokens : of.channels,
                      rows = channels_first ? of.channels : of.tokens;
        auto *const first = static_cast<uint8_t *>(tensor.row(b, h, row)) + column * int64_t(tensor.element_bytes());
        return {first, tensor.tensor.dtype, columns, rows, 1, tensor.tensor.strides[2], 0};
    }

    int64_t columns_, rows_;
};

}  // namespace muattn
