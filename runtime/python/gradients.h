// Where gradients go: new arrays, of those that the caller wants.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "arrays.h"

namespace muattn::python {

using Names = std::vector<std::string>;

class Gradients {
public:
    explicit Gradients(const Names &wanted) : wanted_(wanted) {}

    bool wants(const char *name) const;
    // An array of this shape for the gradient by the argument of this name. Null: it is not wanted.
    const muattn_tensor *matrices(const char *name, const muattn_tensor &shape);
    // The same with so many numbers.
    float *numbers(const char *name, int64_t count);
    // By name.
    nanobind::dict arrays() const { return arrays_; }

private:
    const muattn_tensor &add(const char *name, nanobind::object array, Dimensions dimensions);

    const Names &wanted_;
    std::deque<Tensor> tensors_;
    nanobind::dict arrays_;
};

}  // namespace muattn::python
