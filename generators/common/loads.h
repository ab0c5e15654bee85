// Loads of vectors that reach past the end of an array.
#pragma once
#include "Halide.h"

namespace muattn {

// An element where the condition holds; it must be a load itself, not a conversion of one. In a vector it is one load with a mask, where the
// machine has such loads of this type, else a test for each lane. The other lanes are not read, and what they hold means nothing; it may be NaN.
inline Halide::Expr load_where(const Halide::Expr &condition, const Halide::Expr &element) {
    using Halide::Internal::Call;
    return Call::make(element.type(), Call::if_then_else, {condition, element}, Call::PureIntrinsic);
}

// Element x of a dimension of that extent, by load(x), and 0 past its end; x is not negative. The one condition in both places lets a loop be
// split: only its end has a mask, and that zeroes the other lanes.
template<typename Load>
Halide::Expr load_or_zero(const Halide::Expr &x, const Halide::Expr &extent, const Load &load) {
    const Halide::Expr inside = Halide::likely(x < extent);
    const Halide::Expr element = load(Halide::unsafe_promise_clamped(x, 0, extent - 1));
    return Halide::select(inside, load_where(inside, element), Halide::cast(element.type(), 0));
}

}  // namespace muattn
