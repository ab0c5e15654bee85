#include "gradients.h"

namespace nb = nanobind;

namespace muattn::python {

bool Gradients::wants(const char *name) const { return nb::cast<bool>(wanted_.attr("__contains__")(name)); }

const muattn_tensor *Gradients::matrices(const char *name, const muattn_tensor &shape) {
    const int64_t *size = shape.shape;
    return wants(name) ? &add(name, {size[0], size[1], size[2], size[3]}, kTokens) : nullptr;
}

float *Gradients::numbers(const char *name, int64_t count) {
    return wants(name) ? static_cast<float *>(add(name, {count}, kHeads).data) : nullptr;
}

const muattn_tensor &Gradients::add(const char *name, std::initializer_list<int64_t> shape, Dimensions dimensions) {
    const nb::object array = given_ ? nb::object(wanted_[name]) : new_array(shape);
    tensors_.push_back(output(name, array, dimensions));
    arrays_[name] = array;
    return tensors_.back().tensor;
}

}  // namespace muattn::python
