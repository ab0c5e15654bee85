// Where gradients go: new arrays of those that the caller wants, or arrays of the caller's.
#pragma once

#include <deque>

#include "arrays.h"

namespace muattn::python {

// A list of names, or a dict from names to arrays to write to.
using Wanted = nanobind::object;

class Gradients {
public:
    explicit Gradients(const Wanted &wanted) : wanted_(wanted), given_(PyDict_Check(wanted.ptr())) {}

    bool wants(const char *name) const;
    // A new array like this tensor, or the caller's, for the gradient by the argument of this name. Null: it is not wanted.
    const muattn_tensor *matrices(const char *name, const muattn_tensor &like);
    // The same with so many numbers.
    float *numbers(const char *name, int64_t count);
    // By name.
    nanobind::dict arrays() const { return arrays_; }

private:
    const muattn_tensor &add(const char *name, Shape shape, muattn_dtype dtype, Dimensions dimensions);

    const Wanted &wanted_;
    const bool given_;
    std::deque<Tensor> tensors_;
    nanobind::dict arrays_;
};

}  // namespace muattn::python
