#include "gradients.h"

#include <algorithm>

namespace nb = nanobind;

namespace muattn::python {

bool Gradients::wants(const char *name) const {
    return std::find(wanted_.begin(), wanted_.end(), name) != wanted_.end();
}

const muattn_tensor *Gradients::matrices(const char *name, const muattn_tensor &shape) {
    const int64_t *size = shape.shape;
    return wants(name) ? &add(name, new_array({size[0], size[1], size[2], size[3]}), kTokens) : nullptr;
}

float *Gradients::numbers(const char *name, int64_t count) {
    return wants(name) ? static_cast<float *>(add(name, new_array({count}), kHeads).data) : nullptr;
}

const muattn_tensor &Gradients::add(const char *name, nb::object array, Dimensions dimensions) {
    tensors_.push_back(output(name, array, dimensions));
    arrays_[name] = array;
    return tensors_.back().tensor;
}

}  // namespace muattn::python
