// Conversions between float32 and 16 bits: ours against plain arithmetic, and what Halide's own casts lose. docs/halide-notes.md.
#include "generators/common/elements.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/sixteen_bits.h"

namespace muattn::test {
namespace {

using namespace Halide;

constexpr int kVector = 8;

Target with_instructions() { return get_host_target(); }
Target without_instructions() {
    const Target host = get_host_target();
    return Target(host.os, host.arch, host.bits, {Target::JIT});
}

muattn_dtype dtype_of(Element element) { return element == Element::float16 ? MUATTN_FLOAT16 : MUATTN_BFLOAT16; }

// Every pattern.
Buffer<uint16_t> all_bits() {
    Buffer<uint16_t> bits(1 << 16);
    for (int i = 0; i < bits.width(); i++) {
        bits(i) = uint16_t(i);
    }
    return bits;
}

// Every 509th pattern of a float, and those around what is halfway between two numbers of 16 bits.
Buffer<float> many_floats() {
    constexpr uint64_t kStep = 509;
    std::vector<uint32_t> patterns;
    for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += kStep) {
        patterns.push_back(uint32_t(bits));
    }
    for (uint32_t bits = 0; bits < (1u << 16); bits++) {
        for (const uint32_t halfway :
             {bits << 16 | 0x8000u, bits << 16 | 0x1000u, bits << 16 | 0x3000u, bits << 16 | 0xf000u}) {
            for (const uint32_t around : {halfway - 1, halfway, halfway + 1}) {
                patterns.push_back(around);
            }
        }
    }
    Buffer<float> floats(int(patterns.size()) / kVector * kVector);
    memcpy(floats.data(), patterns.data(), size_t(floats.width()) * sizeof(float));
    return floats;
}

void expect_exact(Element element, const Target &target) {
    const Buffer<uint16_t> bits = all_bits();
    ImageParam in(UInt(16), 1);
    in.set(bits);
    Var x("x");
    Func wide("wide");
    wide(x) = as_float(in(x), element, target);
    wide.vectorize(x, kVector);
    const Buffer<float> got = wide.realize({bits.width()}, target);
    for (int i = 0; i < bits.width(); i++) {
        const float want = widened(dtype_of(element), bits(i));
        ASSERT_TRUE(memcmp(&got(i), &want, sizeof want) == 0 || (std::isnan(got(i)) && std::isnan(want)))
            << i << ": " << got(i);
    }
}

// Of the floats, how many are not rounded to nearest even, and how many NaN are lost.
struct Faults {
    int64_t wrong = 0, nan_lost = 0;
};
Faults faults_of(Element element, const Target &target, Expr (*round)(const Expr &, Element, const Target &)) {
    static const Buffer<float> floats = many_floats();
    ImageParam in(Float(32), 1);
    in.set(floats);
    Var x("x");
    Func narrow("narrow");
    narrow(x) = round(in(x), element, target);
    narrow.vectorize(x, kVector);
    const Buffer<uint16_t> got = narrow.realize({floats.width()}, target);
    Faults faults;
    const muattn_dtype dtype = dtype_of(element);
    for (int i = 0; i < floats.width(); i++) {
        if (std::isnan(floats(i))) {
            faults.nan_lost += !is_nan_bits(dtype, got(i));
        } else {
            faults.wrong += got(i) != rounded_bits(dtype, floats(i));
        }
    }
    return faults;
}

Expr cast_of_halide(const Expr &x, Element element, const Target &) {
    return element == Element::float16 ? reinterpret<uint16_t>(cast(Float(16), x))
                                       : reinterpret<uint16_t>(cast(BFloat(16), x));
}

TEST(Elements, AreWidenedExactly) {
    for (const Element element : {Element::float16, Element::bfloat16}) {
        for (const Target &target : {with_instructions(), without_instructions()}) {
            expect_exact(element, target);
        }
    }
}

TEST(Elements, AreRoundedToNearestEvenAndKeepNan) {
    for (const Element element : {Element::float16, Element::bfloat16}) {
        for (const Target &target : {with_instructions(), without_instructions()}) {
            const Faults faults = faults_of(element, target, rounded);
            EXPECT_EQ(faults.wrong, 0);
            EXPECT_EQ(faults.nan_lost, 0);
        }
    }
}

// Why these conversions are not Halide's.
TEST(Elements, CastsOfHalideLoseNan) {
    EXPECT_GT(faults_of(Element::bfloat16, with_instructions(), cast_of_halide).nan_lost, 0);
    EXPECT_GT(faults_of(Element::float16, without_instructions(), cast_of_halide).nan_lost, 0);
}

}  // namespace
}  // namespace muattn::test
