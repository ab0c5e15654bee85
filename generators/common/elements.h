// Types of elements in memory, and their conversions: every kernel computes in float32.
#pragma once
#include <map>
#include <string>

#include "Halide.h"

namespace muattn {

// The names of tables/kernels.json.
enum class Element { float32, float16, bfloat16, int8 };

inline const std::map<std::string, Element> &element_names() {
    static const std::map<std::string, Element> names{{"float32", Element::float32},
                                                      {"float16", Element::float16},
                                                      {"bfloat16", Element::bfloat16},
                                                      {"int8", Element::int8}};
    return names;
}

// What a kernel's buffers hold. 16 bits are integers to Halide 21: it refuses, or miscompiles, some vectors of its BFloat(16).
inline Halide::Type storage_of(Element element) {
    return element == Element::float32 ? Halide::Type(Halide::Float(32))
           : element == Element::int8  ? Halide::Type(Halide::Int(8))
                                       : Halide::Type(Halide::UInt(16));
}

// Whether the target's instructions convert float16. Where they do not, Halide's own conversions make infinity of NaN.
inline bool has_float16_conversions(const Halide::Target &target) {
    using Halide::Target;
    return target.arch == Target::X86   ? target.features_any_of({Target::F16C, Target::AVX512})
           : target.arch == Target::ARM ? target.has_feature(Target::ARMFp16)
                                        : false;
}

// By integers, exact, subnormal numbers too: 2^112 times the bits shifted to where float32 has them. The call's floating-point mode keeps
// subnormal numbers, which those bits may be.
inline Halide::Expr from_float16_bits(const Halide::Expr &h) {
    using namespace Halide;
    const Expr bits = cast<uint32_t>(h), magnitude = (bits & Expr(0x7fffu)) << 13;
    const Expr two_112 = reinterpret<float>(Expr(239u << 23));
    const Expr finite = reinterpret<uint32_t>(strict_float(reinterpret<float>(magnitude) * two_112));
    const Expr unsigned_bits = select((bits & Expr(0x7fffu)) >= Expr(0x7c00u), magnitude | Expr(0x7f800000u), finite);
    return reinterpret<float>(unsigned_bits | ((bits & Expr(0x8000u)) << 16));
}

// To nearest even; NaN stays NaN.
inline Halide::Expr to_float16_bits(const Halide::Expr &x) {
    using namespace Halide;
    const Expr bits = reinterpret<uint32_t>(x), sign = (bits >> 16) & Expr(0x8000u),
               magnitude = bits & Expr(0x7fffffffu);
    // Below 2^-14: a sum with 0.5 is rounded to a multiple of 2^-24, the smallest number.
    const Expr subnormal =
        reinterpret<uint32_t>(strict_float(reinterpret<float>(magnitude) + 0.5f)) - Expr(0x3f000000u);
    const Expr normal = (magnitude + Expr(0xc8000fffu) + ((magnitude >> 13) & Expr(1u))) >> 13;
    const Expr number = select(magnitude < Expr(0x38800000u), subnormal, min(normal, Expr(0x7c00u)));
    const Expr result = select(magnitude > Expr(0x7f800000u), Expr(0x7e00u) | ((magnitude >> 13) & Expr(0x3ffu)),
                               magnitude >= Expr(0x47800000u), Expr(0x7c00u), number);
    return cast<uint16_t>(result | sign);
}

// To nearest even; NaN stays NaN, which Halide's cast loses.
inline Halide::Expr to_bfloat16_bits(const Halide::Expr &x) {
    using namespace Halide;
    const Expr bits = reinterpret<uint32_t>(x);
    const Expr rounded = (bits + Expr(0x7fffu) + ((bits >> 16) & Expr(1u))) >> 16;
    const Expr is_nan = (bits & Expr(0x7fffffffu)) > Expr(0x7f800000u);
    return cast<uint16_t>(select(is_nan, (bits >> 16) | Expr(0x40u), rounded));
}

// An element as float32, exact.
inline Halide::Expr as_float(const Halide::Expr &x, Element element, const Halide::Target &target) {
    using namespace Halide;
    switch (element) {
    case Element::float32: return x;
    case Element::int8: return cast<float>(x);
    case Element::bfloat16: return reinterpret<float>(cast<uint32_t>(x) << 16);
    case Element::float16: break;
    }
    return has_float16_conversions(target) ? cast<float>(reinterpret(Float(16), x)) : from_float16_bits(x);
}

// A float32 as an element, to nearest even; NaN stays NaN.
inline Halide::Expr rounded(const Halide::Expr &x, Element element, const Halide::Target &target) {
    using namespace Halide;
    _halide_user_assert(element != Element::int8) << "results are not written as int8";
    switch (element) {
    case Element::bfloat16: return to_bfloat16_bits(x);
    case Element::float16:
        return has_float16_conversions(target) ? reinterpret<uint16_t>(cast(Float(16), x)) : to_float16_bits(x);
    default: return x;
    }
}

}  // namespace muattn
