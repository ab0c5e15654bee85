// Spatial attention: the output multiplier, given and by the rule UMUP, through every algorithm, in gradients and in merges.
#include <algorithm>
#include <cmath>
#include <string>

#include "support/backends.h"
#include "support/cases.h"
#include "support/spatial_gradients.h"

namespace muattn::test {
namespace {

class SpatialMultiplier : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialMultiplier);

SpatialCase sized(int64_t n_q, int64_t n_k) {
    SpatialCase c;
    c.B = 2, c.H = 4, c.Hk = 2, c.n_q = n_q, c.n_k = n_k, c.d = 16, c.d_v = 12;
    return c;
}

// Sizes that are computed in different ways: few queries, few keys, many of both.
constexpr std::pair<int64_t, int64_t> kSizes[] = {{1, 700}, {5, 40}, {40, 40}, {150, 600}};

TEST_P(SpatialMultiplier, OfEveryAlgorithm) {
    for (const auto &[n_q, n_k] : kSizes) {
        for (const float multiplier : {0.0f, -2.5f, 1e-28f, 1e30f}) {
            SpatialCase c = sized(n_q, n_k);
            c.output_multiplier = {multiplier};
            expect_agrees(c);
            c.causal = MUATTN_CAUSAL_OFFSET;
            c.causal_offset = -3;  // the first rows see no key
            expect_agrees(c);
            c.sink = {5, -5, 50, 0};
            c.softcap = 3;
            expect_agrees(c);
            c.lse = false;
            expect_agrees(c);
        }
    }
}

// A power of two changes no bit but the exponent's, and lse not at all.
TEST_P(SpatialMultiplier, TimesTheOutputWithoutIt) {
    for (const auto &[n_q, n_k] : kSizes) {
        SpatialCase c = sized(n_q, n_k);
        const SpatialTensors without = make_tensors(c);
        ASSERT_EQ(run(c, without), MUATTN_OK) << muattn_last_error();
        std::vector<float> out = without.out.elements();
        for (const float multiplier : {1.0f, -8.0f}) {
            const SpatialTensors with = make_tensors(c);
            c.output_multiplier = {multiplier};
            ASSERT_EQ(run(c, with), MUATTN_OK) << muattn_last_error();
            std::vector<float> want = out;
            std::transform(out.begin(), out.end(), want.begin(), [&](float x) { return x * multiplier; });
            EXPECT_EQ(with.out.elements(), want) << testing::PrintToString(c) << " " << muattn_last_kernel();
            EXPECT_EQ(with.lse.elements(), without.lse.elements());
        }
    }
}

TEST_P(SpatialMultiplier, OfTheRule) {
    for (const auto &[n_q, n_k] : kSizes) {
        for (const double alpha : {0.0, 0.5, 6.0}) {
            SpatialCase c = sized(n_q, n_k);
            c.scaling = MUATTN_SCALING_UMUP, c.alpha = alpha;
            expect_agrees(c);
            for (const muattn_causal causal :
                 {MUATTN_CAUSAL_TOP_LEFT, MUATTN_CAUSAL_BOTTOM_RIGHT, MUATTN_CAUSAL_OFFSET}) {
                c.causal = causal;
                expect_agrees(c);
            }
            c.scale = {0.25f}, c.alpha = 0, c.output_multiplier = {3.0f};  // which override it
            expect_agrees(c);
        }
    }
}

TEST_P(SpatialMultiplier, WithoutKeys) {
    SpatialCase c = sized(3, 0);
    c.scaling = MUATTN_SCALING_UMUP;
    expect_agrees(c);
    c.scaling = MUATTN_SCALING_SP, c.output_multiplier = {-7.0f};
    expect_agrees(c);
}

TEST_P(SpatialMultiplier, MergeIsOneCall) {
    SpatialCase c = sized(6, 90);
    c.output_multiplier = {-3.5f};
    const SpatialTensors whole = make_tensors(c);
    ASSERT_EQ(run(c, whole), MUATTN_OK) << muattn_last_error();
    SpatialCase first = c, second = c;
    first.key_lengths = {40, 40};
    second.mask = SpatialCase::boolean;
    second.mask_full = {false, false, false, true};
    SpatialTensors a = whole, b = whole;
    a.out = Tensor(whole.out.shape(), dense()), a.lse = Tensor(whole.lse.shape(), dense());
    b.out = Tensor(whole.out.shape(), dense()), b.lse = Tensor(whole.lse.shape(), dense());
    ASSERT_EQ(run(first, a), MUATTN_OK) << muattn_last_error();
    b.mask = Tensor({1, 1, 1, c.n_k}, dense());
    b.mask_bytes.assign(size_t(c.n_k), 0);
    std::fill(b.mask_bytes.begin() + 40, b.mask_bytes.end(), uint8_t(1));
    ASSERT_EQ(run(second, b), MUATTN_OK) << muattn_last_error();
    const SpatialTensors merged = make_tensors(c);
    const muattn_tensor out_a = a.out.view(), lse_a = a.lse.view(), out_b = b.out.view(), lse_b = b.lse.view(),
                        out = merged.out.view(), lse = merged.lse.view();
    ASSERT_EQ(muattn_merge(&out_a, &lse_a, &out_b, &lse_b, &out, &lse), MUATTN_OK) << muattn_last_error();
    const std::vector<float> got = merged.out.elements(), want = whole.out.elements();
    for (size_t i = 0; i < got.size(); i++) {
        ASSERT_NEAR(got[i], want[i], 1e-5) << i;
    }
}

class SpatialMultiplierBackward : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialMultiplierBackward);

TEST_P(SpatialMultiplierBackward, Gradients) {
    for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{5, 7}, {40, 40}, {150, 600}}) {
        for (const float multiplier : {0.0f, -2.5f, 1e-10f, 1e10f}) {
            SpatialBackwardCase c(sized(n_q, n_k));
            c.output_multiplier = {multiplier};
            expect_gradients_agree(c);
            c.causal = MUATTN_CAUSAL_OFFSET;
            c.causal_offset = -3;
            c.sink = {5, -5, 50, 0};
            c.mask = SpatialCase::additive;
            c.softcap = 3;
            expect_gradients_agree(c);
        }
    }
}

TEST_P(SpatialMultiplierBackward, OfTheRule) {
    for (const double alpha : {0.0, 3.0}) {
        SpatialBackwardCase c(sized(30, 50));
        c.scaling = MUATTN_SCALING_UMUP, c.alpha = alpha;
        expect_gradients_agree(c);
        c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
        expect_gradients_agree(c);
    }
}

TEST_P(SpatialMultiplierBackward, OnlyByTheMultiplier) {
    SpatialBackwardCase c(sized(70, 30));
    c.output_multiplier = {0.5f};
    c.causal = MUATTN_CAUSAL_OFFSET;
    c.causal_offset = -3;
    c.wants_q = c.wants_k = c.wants_v = c.wants_scale = false;
    expect_gradients_agree(c);
    c.B = 0;
    const SpatialGradientTensors t = make_gradient_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(t.d_output_multiplier[0], 0);
}

// A product of the gradient by out and the multiplier that is too large for what a key hidden from all holds.
TEST_P(SpatialMultiplierBackward, LargeMultipliersAndHiddenValues) {
    for (const SpatialCase::Mask mask : {SpatialCase::no_mask, SpatialCase::boolean}) {
        SpatialBackwardCase c(sized(12, 20));
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
        c.mask = mask;
        c.output_multiplier = {1e30f};
        c.with_d_lse = false;
        SpatialGradientTensors t = make_gradient_tensors(c);
        t.inputs.v.fill_normal(3, 1e-25);  // so that out is not large
        for (int64_t e = 0; e < c.d_v; e++) {
            t.inputs.v.at(0, 0, 15, e) = 1e10f;
        }
        write_forward_result(c, t);
        expect_gradients_agree(c, t);
    }
}

}  // namespace
}  // namespace muattn::test
