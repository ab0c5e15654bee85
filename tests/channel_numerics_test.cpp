// Channel attention: numbers at the ends of the range, NaN, and identities.
#include <cmath>
#include <limits>

#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

ChannelCase some_case() {
    ChannelCase c;
    c.B = 1, c.H = 2, c.n = 150, c.d = 35;
    return c;
}

class ChannelNumerics : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(ChannelNumerics);

TEST_P(ChannelNumerics, LargeLogits) {
    ChannelCase c = some_case();
    for (const float scale : {10.0f, 1e3f, 1e4f, -1e4f}) {
        c.scale = {scale};
        expect_agrees(c);
    }
}

TEST_P(ChannelNumerics, LargeValues) {
    ChannelCase c = some_case();
    c.amplitude = 1e15;
    c.scale = {1e-31f};
    expect_agrees(c);
    const ChannelTensors t = make_tensors(c);
    t.v.fill_normal(3, 1e36);
    expect_agrees(c, t);
}

TEST_P(ChannelNumerics, SmallValues) {
    ChannelCase c = some_case();
    c.amplitude = 1e-18;
    c.scale = {1e35f};
    expect_agrees(c);
}

TEST_P(ChannelNumerics, DenormalInputs) {
    const ChannelCase c = some_case();
    for (const double amplitude : {1e-38, 1e-40, 1e-44}) {
        const ChannelTensors t = make_tensors(c);
        t.q.fill_normal(1, amplitude);
        expect_agrees(c, t);
        t.k.fill_normal(2, amplitude);
        expect_agrees(c, t);
        t.v.fill_normal(3, amplitude);
        expect_agrees(c, t);
    }
}

// Scales and multipliers at the ends of what is accepted.
TEST_P(ChannelNumerics, NumbersAtTheEndsOfTheirRange) {
    ChannelCase c = some_case();
    for (const float scale : {1e38f, -1e38f, 1e-37f, -1e-37f}) {
        c.scale = {scale};
        c.amplitude = std::sqrt(1 / std::fabs(double(scale))) / 40;
        const ChannelTensors t = make_tensors(c);
        t.v.fill_normal(3, 1);
        expect_agrees(c, t);
    }
    c.amplitude = 1;
    c.scale = {1};
    for (const float multiplier : {1e-34f, -1e-34f, 1e37f, 0.0f}) {
        c.output_multiplier = {multiplier};
        expect_agrees(c);
    }
    c.output_multiplier = {1};
    c.normalize = true;
    c.scale = {1e25f};
    const ChannelTensors t = make_tensors(c);
    for (int64_t token = 0; token < c.n; token++) {
        t.k.at(0, 1, token, 2) = 0;  // its inverse norm is 1e12
    }
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    for (const float x : t.out.elements()) {
        ASSERT_TRUE(std::isfinite(x));
    }
}

// A channel of Q gives one row of the map, which gives that channel of the output.
TEST_P(ChannelNumerics, BadQueriesStayInTheirChannel) {
    const ChannelCase c = some_case();
    for (const float bad : {kNan, kInfinity}) {
        const ChannelTensors t = make_tensors(c);
        t.q.at(0, 1, 70, 20) = bad;
        expect_agrees(c, t);
    }
}

// The last channel, whose norm comes from a vector that is not whole.
TEST_P(ChannelNumerics, BadNormalizedQueriesStayInTheirChannel) {
    ChannelCase c = some_case();
    c.normalize = true;
    const ChannelTensors t = make_tensors(c);
    t.q.at(0, 1, 70, c.d - 1) = kNan;
    expect_agrees(c, t);
}

TEST_P(ChannelNumerics, NormalizedChannelsOfZeros) {
    ChannelCase c = some_case();
    c.normalize = true;
    const ChannelTensors t = make_tensors(c);
    for (int64_t token = 0; token < c.n; token++) {
        t.q.at(0, 1, token, c.d - 1) = 0;
        t.k.at(0, 1, token, c.d - 1) = 0;
        t.k.at(0, 1, token, 2) = 0;
    }
    expect_agrees(c, t);
}

TEST_P(ChannelNumerics, BadValuesStayWithTheirToken) {
    const ChannelCase c = some_case();
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
        const ChannelTensors t = make_tensors(c);
        t.v.at(0, 1, 140, 3) = bad;
        expect_agrees(c, t);
    }
}

// Every row of the map has a column of that key.
TEST_P(ChannelNumerics, BadKeysStayInTheirHead) {
    const ChannelCase c = some_case();
    const ChannelTensors t = make_tensors(c);
    t.k.at(0, 1, 140, 3) = kNan;
    expect_agrees(c, t);
}

TEST_P(ChannelNumerics, ZeroScaleIsTheMean) {
    ChannelCase c = some_case();
    c.scale = {0.0f};
    expect_agrees(c);
}

// A softmax over one column is 1.
TEST_P(ChannelNumerics, OneChannelIsCopied) {
    ChannelCase c = some_case();
    c.d = 1;
    const ChannelTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(t.out.elements(), t.v.elements());
}

// Rows of the softmax sum to one.
TEST_P(ChannelNumerics, ConstantValuesGiveTheMultiplier) {
    ChannelCase c = some_case();
    c.output_multiplier = {0.25f};
    const ChannelTensors t = make_tensors(c);
    t.v.fill(2);
    expect_agrees(c, t);
    for (const float x : t.out.elements()) {
        ASSERT_NEAR(x, 0.5f, 1e-6f);
    }
}

}  // namespace
}  // namespace muattn::test
