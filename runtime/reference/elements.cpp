#include "reference/elements.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace muattn::reference {

double from_float16(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                             : exponent != 31 ? std::ldexp(fraction + 1024, exponent - 25)
                             : fraction != 0  ? std::numeric_limits<double>::quiet_NaN()
                                              : std::numeric_limits<double>::infinity();
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

double from_bfloat16(uint16_t bits) {
    const uint32_t wide = uint32_t(bits) << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return double(x);
}

Elements::Elements(const muattn_tensor &tensor) : tensor_(tensor) {
    int64_t *stride = tensor_.strides;
    const int64_t *shape = tensor_.shape;
    if (std::all_of(stride, stride + 4, [](int64_t s) { return s == 0; })) {
        stride[3] = 1;
        for (int dim = 2; dim >= 0; dim--) {
            stride[dim] = stride[dim + 1] * shape[dim + 1];
        }
    }
    for (int dim = 0; dim < 4; dim++) {
        stride[dim] = shape[dim] == 1 ? 0 : stride[dim];
    }
}

}  // namespace muattn::reference
