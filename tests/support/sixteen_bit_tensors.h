// Tensors in 16 bits, compared with those of the same call in float32.
#pragma once

#include "muattn/muattn.h"
#include "support/cases.h"

namespace muattn::test {

constexpr muattn_dtype kSixteenBits[] = {MUATTN_FLOAT16, MUATTN_BFLOAT16};

// got: in 16 bits; want: in float32.
void expect_rounded(const Tensor &got, const Tensor &want, muattn_dtype dtype, const char *name);
// Both in float32.
void expect_same(const Tensor &got, const Tensor &want, const char *name);

// For an output of that shape.
inline Tensor like(const Tensor &tensor, const Layout &layout) { return Tensor(tensor.shape(), for_output(layout)); }
// q, k, v and that output in 16 bits.
inline ChannelTensors narrowed(const ChannelTensors &t, const Tensor &out, muattn_dtype dtype) {
    return {t.q.narrowed(dtype), t.k.narrowed(dtype), t.v.narrowed(dtype), out.narrowed(dtype)};
}

}  // namespace muattn::test
