// Loads of vectors that reach past the end of an array.
#pragma once
#include "Halide.h"

namespace muattn {

// An element where the condition holds. In a vector it is one load with a mask, which touches no memory in the other lanes; what these
// hold then means nothing. Scalar code tests the condition for each element.
inline Halide::Expr load_where(const Halide::Expr &condition, const Halide::Expr &element) {
    using Halide::Internal::Call;
    return Call::make(element.type(), Call::if_then_else, {condition, element}, Call::PureIntrinsic);
}

// Element x of a dimension of that extent, by load(x), where there is one.
template<typename Load>
Halide::Expr load_inside(const Halide::Expr &x, const Halide::Expr &extent, const Load &load) {
    return load_where(Halide::likely(x < extent), load(Halide::unsafe_promise_clamped(x, 0, extent - 1)));
}

}  // namespace muattn
