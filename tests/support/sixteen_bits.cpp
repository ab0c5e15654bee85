#include "support/sixteen_bits.h"

#include <algorithm>
#include <cmath>

#include "reference/elements.h"

namespace muattn::test {
namespace {

struct Format {
    int fraction_bits, bias;

    int least_exponent() const { return 1 - bias; }
    uint16_t infinity() const { return uint16_t((2 * bias + 1) << fraction_bits); }
};

Format format_of(muattn_dtype dtype) { return dtype == MUATTN_FLOAT16 ? Format{10, 15} : Format{7, 127}; }

}  // namespace

uint16_t rounded_bits(muattn_dtype dtype, float x) {
    const Format f = format_of(dtype);
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    const double magnitude = std::fabs(double(x));
    if (std::isnan(x)) {
        return uint16_t(sign | f.infinity() | 1 << (f.fraction_bits - 1));
    }
    if (std::isinf(x)) {
        return uint16_t(sign | f.infinity());
    }
    const int exponent = magnitude == 0 ? f.least_exponent() : std::max(std::ilogb(magnitude), f.least_exponent());
    // In units of the last place: up to 2^(fraction_bits + 1), which carries into the exponent by itself.
    const auto units = int(std::nearbyint(std::ldexp(magnitude, f.fraction_bits - exponent)));
    const int bits = ((exponent - f.least_exponent()) << f.fraction_bits) + units;
    return uint16_t(sign | std::min(bits, int(f.infinity())));
}

float widened(muattn_dtype dtype, uint16_t bits) {
    return float(dtype == MUATTN_FLOAT16 ? reference::from_float16(bits) : reference::from_bfloat16(bits));
}

uint16_t untouched_bits(muattn_dtype dtype) { return uint16_t(format_of(dtype).infinity() | 0x55); }

bool is_nan_bits(muattn_dtype dtype, uint16_t bits) { return (bits & 0x7fff) > format_of(dtype).infinity(); }

}  // namespace muattn::test
