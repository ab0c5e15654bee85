#include "support/sixteen_bit_tensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/sixteen_bits.h"

namespace muattn::test {

void expect_rounded(const Tensor &got, const Tensor &want, muattn_dtype dtype, const char *name) {
    const std::vector<uint16_t> bits = got.bits();
    const std::vector<float> floats = want.elements();
    for (size_t i = 0; i < bits.size(); i++) {
        if (std::isnan(floats[i])) {
            ASSERT_TRUE(is_nan_bits(dtype, bits[i]) && bits[i] != untouched_bits(dtype)) << name << " " << i;
        } else {
            ASSERT_EQ(bits[i], rounded_bits(dtype, floats[i])) << name << " " << i << ": " << floats[i];
        }
    }
    ASSERT_EQ(got.bits_changed_outside(), 0) << name;
}

void expect_same(const Tensor &got, const Tensor &want, const char *name) {
    const std::vector<float> a = got.elements(), b = want.elements();
    for (size_t i = 0; i < a.size(); i++) {
        ASSERT_TRUE(memcmp(&a[i], &b[i], sizeof(float)) == 0 || (std::isnan(a[i]) && std::isnan(b[i])))
            << name << " " << i << ": " << a[i] << ", not " << b[i];
    }
}

}  // namespace muattn::test
