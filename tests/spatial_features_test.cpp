// Spatial attention: features together. Each pair of choices of two features occurs in one case at least.
#include <cmath>
#include <limits>

#include "support/backends.h"
#include "support/cases.h"
#include "support/pairwise.h"
#include "support/spatial_choices.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class SpatialFeatures : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialFeatures);

TEST_P(SpatialFeatures, InPairs) {
    for (const std::vector<int> &row : pairwise(kSpatialChoices)) {
        expect_agrees(spatial_case_of(row, 13, 13));
        expect_agrees(spatial_case_of(row, 5, 17));
        expect_agrees(spatial_case_of(row, 17, 6));
    }
}

TEST_P(SpatialFeatures, InPairsBeyondOneTileAndChunk) {
    const auto s = spatial_schedule(GetParam());
    for (const std::vector<int> &row : pairwise(kSpatialChoices)) {
        expect_agrees(spatial_case_of(row, s.tile_rows() + 7, 29));
        expect_agrees(spatial_case_of(row, 31, s.chunk_keys + 9));
    }
}

// Of every algorithm: the sink of each head, from none over small ones to one that leaves the keys nothing.
TEST_P(SpatialFeatures, SinksOfEveryAlgorithm) {
    for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{1, 700}, {5, 40}, {40, 40}, {150, 600}}) {
        SpatialCase c;
        c.B = 2, c.H = 4, c.Hk = 2, c.n_q = n_q, c.n_k = n_k, c.d = 16, c.d_v = 12;
        c.sink = {-kInfinity, -1e37f, 0.7f, 1e37f};
        expect_agrees(c);
        c.sink = {5, -5, 50, 0};
        expect_agrees(c);
        c.causal = MUATTN_CAUSAL_OFFSET;
        c.causal_offset = -3;  // the first rows see no key
        expect_agrees(c);
        c.lse = false;
        c.key_lengths = {0, n_k / 2};
        expect_agrees(c);
    }
}

// The same bits as without, where no head has one.
TEST_P(SpatialFeatures, SinksOfMinusInfinityAreNone) {
    for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{1, 700}, {5, 40}, {150, 600}}) {
        SpatialCase c;
        c.H = 2, c.Hk = 2, c.n_q = n_q, c.n_k = n_k, c.d = 16, c.d_v = 12;
        const SpatialTensors without = make_tensors(c), with = make_tensors(c);
        ASSERT_EQ(run(c, without), MUATTN_OK) << muattn_last_error();
        c.sink = {-kInfinity, -kInfinity};
        ASSERT_EQ(run(c, with), MUATTN_OK) << muattn_last_error();
        EXPECT_EQ(without.out.elements(), with.out.elements());
        EXPECT_EQ(without.lse.elements(), with.lse.elements());
    }
}

TEST_P(SpatialFeatures, SinksAreAMerge) {
    SpatialCase c;
    c.B = 2, c.H = 3, c.Hk = 3, c.n_q = 7, c.n_k = 30, c.d = 12, c.d_v = 10;
    const SpatialTensors without = make_tensors(c), nothing = make_tensors(c), merged = make_tensors(c),
                         with = make_tensors(c);
    ASSERT_EQ(run(c, without), MUATTN_OK) << muattn_last_error();
    c.sink = {-2, 1, 4};
    nothing.out.fill(0);
    for (int64_t row = 0; row < c.B * c.H * c.n_q; row++) {
        nothing.lse.at(row / (c.H * c.n_q), row / c.n_q % c.H, row % c.n_q, 0) = c.sink[size_t(row / c.n_q % c.H)];
    }
    const muattn_tensor out_a = without.out.view(), lse_a = without.lse.view(), out_b = nothing.out.view(),
                        lse_b = nothing.lse.view(), out = merged.out.view(), lse = merged.lse.view();
    ASSERT_EQ(muattn_merge(&out_a, &lse_a, &out_b, &lse_b, &out, &lse), MUATTN_OK) << muattn_last_error();
    ASSERT_EQ(run(c, with), MUATTN_OK) << muattn_last_error();
    const std::vector<float> got = with.out.elements(), want = merged.out.elements();
    const std::vector<float> got_lse = with.lse.elements(), want_lse = merged.lse.elements();
    for (size_t i = 0; i < got.size(); i++) {
        ASSERT_NEAR(got[i], want[i], 3e-6) << i;
    }
    for (size_t i = 0; i < got_lse.size(); i++) {
        ASSERT_NEAR(got_lse[i], want_lse[i], 3e-6) << i;
    }
}

TEST_P(SpatialFeatures, SinksThatAreNoLogitsAreRefused) {
    SpatialCase c;
    c.H = 2, c.n_q = 3, c.n_k = 4, c.d = 5, c.d_v = 6;
    const SpatialTensors t = make_tensors(c);
    for (const float bad : {kInfinity, 1.1e37f, -1.1e37f, std::nanf("")}) {
        c.sink = {0, bad};
        EXPECT_EQ(run(c, t), MUATTN_INVALID_SINK);
        EXPECT_NE(std::string(muattn_last_error()).find("sink[1] must be -inf"), std::string::npos)
            << muattn_last_error();
        EXPECT_TRUE(is_untouched(t.out.at(0, 0, 0, 0)));
    }
}

class SpatialFeaturesSweep : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialFeaturesSweep);

// 3000 of more than six million combinations.
TEST_P(SpatialFeaturesSweep, AtRandom) {
    std::mt19937 random(7);
    for (int count = 0; count < 3000; count++) {
        std::vector<int> row;
        for (const int choices : kSpatialChoices) {
            row.push_back(int(random() % unsigned(choices)));
        }
        expect_agrees(spatial_case_of(row, 1 + int64_t(random() % 40), 1 + int64_t(random() % 40)));
    }
}

}  // namespace
}  // namespace muattn::test
