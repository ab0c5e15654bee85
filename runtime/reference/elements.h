// A tensor's elements as doubles.
#pragma once

#include <cstdint>

#include "muattn/muattn.h"

namespace muattn::reference {

double from_float16(uint16_t bits);
double from_bfloat16(uint16_t bits);

// Of a tensor in the host's memory; reads nothing before it is asked for an element.
class Elements {
public:
    explicit Elements(const muattn_tensor &tensor);

    int64_t size(int dim) const { return tensor_.shape[dim]; }
    // Where the extent is 1, any index is that of the one element: so a mask stands for all heads, for example.
    double at(int64_t b, int64_t h, int64_t i, int64_t e) const {
        const int64_t *stride = tensor_.strides;
        return element(b * stride[0] + h * stride[1] + i * stride[2] + e * stride[3]);
    }

private:
    // The one place that knows the types of elements.
    double element(int64_t index) const {
        switch (tensor_.dtype) {
        case MUATTN_FLOAT32: break;
        case MUATTN_BOOL: return static_cast<const unsigned char *>(tensor_.data)[index] != 0 ? 1 : 0;
        case MUATTN_INT8: return static_cast<const int8_t *>(tensor_.data)[index];
        case MUATTN_FLOAT16: return from_float16(static_cast<const uint16_t *>(tensor_.data)[index]);
        case MUATTN_BFLOAT16: return from_bfloat16(static_cast<const uint16_t *>(tensor_.data)[index]);
        }
        return double(static_cast<const float *>(tensor_.data)[index]);
    }

    muattn_tensor tensor_;
};

}  // namespace muattn::reference
