#include "gradients.h"

namespace nb = nanobind;

namespace muattn::python {

bool Gradients::wants(const char *name) const { return nb::cast<bool>(wanted_.attr("__contains__")(name)); }

const muattn_tensor *Gradients::matrices(const char *name, const muattn_tensor &like) {
    const int64_t *size = like.shape;
    return wants(name) ? &add(name, {size[0], size[1], size[2], size[3]}, like.dtype, kTokens) : nullptr;
}

float *Gradients::numbers(const char *name, int64_t count) {
    return wants(name) ? static_cast<float *>(add(name, {count}, MUATTN_FLOAT32, kHeads).data) : nullptr;
}

const muattn_tensor &Gradients::add(const char *name, Shape shape, muattn_dtype dtype, Dimensions dimensions) {
    nb::object array = given_ ? nb::object(wanted_[name]) : nb::none();
    tensors_.push_back(output(name, array, shape, dtype, dimensions));
    arrays_[name] = array;
    return tensors_.back().tensor;
}

}  // namespace muattn::python
