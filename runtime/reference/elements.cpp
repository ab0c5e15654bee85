#include "reference/elements.h"

#include <algorithm>

namespace muattn::reference {

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
