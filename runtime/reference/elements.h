// A tensor's elements as doubles.
#pragma once

#include <limits>

#include "muattn/muattn.h"

namespace muattn::reference {

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
        case MUATTN_FLOAT32: return double(static_cast<const float *>(tensor_.data)[index]);
        case MUATTN_BOOL: return static_cast<const unsigned char *>(tensor_.data)[index] != 0 ? 1 : 0;
        }
        return std::numeric_limits<double>::quiet_NaN();
    }

    muattn_tensor tensor_;
};

}  // namespace muattn::reference
