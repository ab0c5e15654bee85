// float16 and bfloat16 by plain arithmetic in double precision.
#pragma once

#include <cstdint>

#include "muattn/muattn.h"

namespace muattn::test {

// To nearest even; NaN is a NaN.
uint16_t rounded_bits(muattn_dtype dtype, float x);
float widened(muattn_dtype dtype, uint16_t bits);
// A NaN with bits of its own.
uint16_t untouched_bits(muattn_dtype dtype);
bool is_nan_bits(muattn_dtype dtype, uint16_t bits);

}  // namespace muattn::test
